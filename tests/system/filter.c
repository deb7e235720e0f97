/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Prints what a seccomp filter answers to system calls, as lines NUMBER ARGUMENT ERRNO, without letting one happen: to
 * all of them with the argument 0, and to those given as NUMBER:ARGUMENT.
 *
 * A filter on top asks a second thread about every call that is marked, and that answers EXDEV. The kernel takes the
 * strictest answer of all filters, so EXDEV means allowed and everything else is the errno of the filter below.
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { NUMBERS = 512, URETPROBE = 335, UPROBE = 336, MARK = 0x50524f42 };

static int listener = -1;
static pthread_barrier_t ready;

static void *answer(void *unused)
{
	struct seccomp_notif question;
	struct seccomp_notif_resp response;

	pthread_barrier_wait(&ready);
	for (;;) {
		question = (struct seccomp_notif){0};
		if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &question) < 0)
			continue;
		response = (struct seccomp_notif_resp){.id = question.id, .error = -EXDEV};
		ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &response);
	}
	return unused;
}

static int install(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[5])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, MARK, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {sizeof(code) / sizeof(code[0]), code};

	return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
}

static void ask(long number, unsigned long argument)
{
	long result = syscall(number, argument, 0, 0, 0, 0, MARK);

	printf("%ld %lu %d\n", number, argument, result < 0 ? errno : 0);
}

int main(int argc, char *argv[])
{
	pthread_t thread;

	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	pthread_barrier_init(&ready, NULL, 2);
	if (pthread_create(&thread, NULL, answer, NULL) != 0 || (listener = install()) < 0)
		return 1;
	pthread_barrier_wait(&ready);
	for (long number = 0; number < NUMBERS; number++) {
		/* the kernel asks no filter about these */
		if (number != URETPROBE && number != UPROBE)
			ask(number, 0);
	}
	for (int i = 1; i < argc; i++) {
		char *argument;
		long number = strtol(argv[i], &argument, 10);

		ask(number, strtoul(argument + 1, NULL, 10));
	}
	return fflush(stdout);
}
