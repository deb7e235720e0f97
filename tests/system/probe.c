/* SPDX-License-Identifier: Apache-2.0 */
/* Calls what seccomp profiles refuse, each in a process of its own, and prints its name and what came of it. */
#include <errno.h>
#include <linux/keyctl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct {
	const char *name;
	long number;
	long arguments[6];
} calls[] = {
	{"keyctl", SYS_keyctl, {KEYCTL_GET_KEYRING_ID, KEY_SPEC_PROCESS_KEYRING, 1}},
	{"add_key", SYS_add_key, {(long)"user", (long)"socker", (long)"x", 1, KEY_SPEC_PROCESS_KEYRING}},
	{"unshare-user", SYS_unshare, {CLONE_NEWUSER}},
	{"unshare-files", SYS_unshare, {CLONE_FILES}},
	{"mount", SYS_mount, {(long)"none", (long)"/", (long)"tmpfs", 0, 0}},
	{"setns", SYS_setns, {-1, 0}},
	{"pivot_root", SYS_pivot_root, {(long)"/", (long)"/"}},
	{"clone3", SYS_clone3, {0, 0}},
	{"bpf", SYS_bpf, {0, 0, 0}},
	{"perf_event_open", SYS_perf_event_open, {0, 0, -1, -1, 0}},
	{"userfaultfd", SYS_userfaultfd, {1}},
	{"personality", SYS_personality, {0x0040000}},
	{"open_by_handle_at", SYS_open_by_handle_at, {-1, 0, 0}},
	{"ptrace", SYS_ptrace, {0, 0, 0, 0}},
	{"io_uring_setup", SYS_io_uring_setup, {1, 0}},
	{"socket-alg", SYS_socket, {38 /* AF_ALG */, SOCK_SEQPACKET, 0}},
	{"socket-vsock", SYS_socket, {40 /* AF_VSOCK */, SOCK_STREAM, 0}},
	{"reboot", SYS_reboot, {0, 0, 0, 0}},
	{"mbind", SYS_mbind, {0, 0, 0, 0, 0, 0}},
	{"getpid", SYS_getpid, {0}},
};

int main(void)
{
	setvbuf(stdout, NULL, _IONBF, 0);
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		const long *a = calls[i].arguments;
		pid_t child = fork();

		if (child == 0) {
			long result = syscall(calls[i].number, a[0], a[1], a[2], a[3], a[4], a[5]);

			printf("%s %s\n", calls[i].name, result < 0 ? strerrorname_np(errno) : "works");
			_exit(0);
		}
		waitpid(child, NULL, 0);
	}
	return 0;
}
