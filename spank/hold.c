/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hold process: the only process that Docker starts in our containers. It keeps the container's mount namespace
 * and waits to be killed. It runs as the system user socker without capabilities, inside a root file system that
 * belongs to somebody else; so it uses nothing of it: no libc, no arguments, no environment, no files.
 *
 * The container shares the host's pid namespace, so orphans of tasks are adopted by slurmstepd or init, not by it,
 * and no signal handler is needed: the default of SIGTERM and SIGKILL is what is wanted.
 */
#include <linux/prctl.h>
#include <stddef.h>

#include "syscalls.h"

static long call3(long number, long first, long second, long third)
{
#if defined(__x86_64__)
	long result;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(first), "S"(second), "d"(third)
			 : "rcx", "r11", "memory");
	return result;
#elif defined(__aarch64__)
	register long x8 __asm__("x8") = number;
	register long x0 __asm__("x0") = first;
	register long x1 __asm__("x1") = second;
	register long x2 __asm__("x2") = third;

	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2) : "memory");
	return x0;
#else
#error "hold.c knows x86_64 and aarch64"
#endif
}

void _start(void) __attribute__((noreturn));

void _start(void)
{
	call3(SYS_prctl, PR_SET_DUMPABLE, 0, 0);
	call3(SYS_close_range, 0, ~0U, 0);
	for (;;)
		call3(SYS_ppoll, 0, 0, 0);
}
