/* SPDX-License-Identifier: Apache-2.0 */
/* Makes the calls that seccomp profiles are about, each in a process of its own, and prints its name and what came of
 * it. */
#include <errno.h>
#include <linux/keyctl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

/* An argument that stands for the caller's own pid. */
enum { SELF = -77 };

static char page[4096] __attribute__((aligned(4096))) = "page";
static char copy[4];
static void *pages[] = {page};
static int where[1];
static unsigned long node = 1;
static struct iovec to = {copy, sizeof(copy)};
static struct iovec from = {page, sizeof(copy)};

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
	{"init_module", SYS_init_module, {0, 0, 0}},
	{"kexec_load", SYS_kexec_load, {0, 0, 0, 0}},
	{"fsopen", SYS_fsopen, {(long)"tmpfs", 0}},
	{"request_key", SYS_request_key, {(long)"user", (long)"socker", 0, 0}},
	{"pidfd_getfd", SYS_pidfd_getfd, {-1, 0, 0}},
	{"get_mempolicy", SYS_get_mempolicy, {0, 0, 0, 0, 0}},
	{"set_mempolicy", SYS_set_mempolicy, {0, 0, 0}},
	{"mbind", SYS_mbind, {(long)page, sizeof(page), 0, 0, 0, 0}},
	{"set_mempolicy_home_node", SYS_set_mempolicy_home_node, {(long)page, sizeof(page), 0, 0}},
	{"move_pages", SYS_move_pages, {0, 1, (long)pages, 0, (long)where, 0}},
	{"migrate_pages", SYS_migrate_pages, {0, 64, (long)&node, (long)&node}},
	{"kcmp", SYS_kcmp, {SELF, SELF, 0, 0, 0}},
	{"process_vm_readv", SYS_process_vm_readv, {SELF, (long)&to, 1, (long)&from, 1, 0}},
	{"process_vm_writev", SYS_process_vm_writev, {SELF, (long)&to, 1, (long)&from, 1, 0}},
	{"getpid", SYS_getpid, {0}},
};

int main(void)
{
	setvbuf(stdout, NULL, _IONBF, 0);
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		pid_t child = fork();

		if (child == 0) {
			long a[6];
			long result;

			for (int word = 0; word < 6; word++)
				a[word] = calls[i].arguments[word] == SELF ? getpid() : calls[i].arguments[word];
			result = syscall(calls[i].number, a[0], a[1], a[2], a[3], a[4], a[5]);

			printf("%s %s\n", calls[i].name, result < 0 ? strerrorname_np(errno) : "works");
			_exit(0);
		}
		waitpid(child, NULL, 0);
	}
	return 0;
}
