/* SPDX-License-Identifier: Apache-2.0 */
/* What a test must do to a process and Python has no call for. */
#include "shim.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "mountapi.h"
#include "scope.h"

/* What a client ends with; here, in a child of the tests, which must not do what they do at their end. */
void shim_exit(int status)
{
	_exit(status);
}

char *shim_bytes(size_t size)
{
	return calloc(1, size);
}

void shim_free(void *memory)
{
	free(memory);
}

int shim_filter(int number)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getpriority, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned int)number),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {.len = sizeof(code) / sizeof(code[0]), .filter = code};

	return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program);
}

int shim_private_mounts(void)
{
	return unshare(CLONE_NEWNS) < 0 ? -1 : mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
}

int shim_mount(const char *source, const char *target, const char *type, unsigned long flags)
{
	return mount(source, target, type, flags, NULL);
}

int shim_mount_data(const char *source, const char *target, const char *type, const char *data)
{
	return mount(source, target, type, 0, data);
}

int shim_unmount(const char *target)
{
	return umount2(target, MNT_DETACH);
}

int shim_open_tree(const char *path)
{
	return open_tree_raw(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
}

int shim_prctl(int option, unsigned long second, unsigned long third)
{
	return prctl(option, second, third, 0, 0);
}

int shim_no_capabilities(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {0};

	return (int)syscall(SYS_capset, &header, data);
}

int shim_inheritable(int capability)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2];

	if (syscall(SYS_capget, &header, data) < 0)
		return -1;
	data[capability / 32].inheritable |= 1U << (capability % 32);
	return (int)syscall(SYS_capset, &header, data);
}

int shim_bounding_drop(void)
{
	for (int capability = 0; prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; capability++) {
		if (prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0)
			return -1;
	}
	return 0;
}

int shim_enter_mounts(int mnt)
{
	return setns(mnt, CLONE_NEWNS);
}

int shim_fsuid(void)
{
	return setfsuid((uid_t)-1);
}

struct mounts *shim_mounts_new(void)
{
	return calloc(1, sizeof(struct mounts));
}

void shim_mounts_free(struct mounts *mounts)
{
	mounts_release(mounts);
	free(mounts);
}

int shim_mount_error(const struct mounts *mounts, uint32_t index)
{
	return mounts->list[index].error;
}

int shim_mount_tree(const struct mounts *mounts, uint32_t index)
{
	return mounts->list[index].tree;
}

int shim_mount_file(const struct mounts *mounts, uint32_t index)
{
	return mounts->list[index].file;
}

/* A root file system as runc leaves it, in small: a layer, a tmpfs on /dev, the hold binary as a bind mount. */
static bool make_root(const char *root, const char *program, const char *inside, bool own_dev)
{
	return shim_private_mounts() == 0 && mount("tmpfs", root, "tmpfs", 0, "mode=0755") == 0 && chdir(root) == 0 &&
	       mkdir("dev", 0755) == 0 && (!own_dev || mount("tmpfs", "dev", "tmpfs", 0, "mode=0755") == 0) &&
	       mkdir("dev/pts", 0755) == 0 && mkdir("proc", 0755) == 0 && mount("proc", "proc", "proc", 0, NULL) == 0 &&
	       mkdir(".socker", 0755) == 0 && mknod(inside + 1, S_IFREG | 0755, 0) == 0 &&
	       mount(program, inside + 1, NULL, MS_BIND, NULL) == 0 && syscall(SYS_pivot_root, ".", ".") == 0 &&
	       umount2(".", MNT_DETACH) == 0 && chdir("/") == 0;
}

static bool become(uint32_t uid, uint32_t gid, unsigned int flaws)
{
	if (!(flaws & HOLD_UNFILTERED) && (shim_filter(HOLD_FIRST_ERRNO) < 0 || shim_filter(HOLD_LAST_ERRNO) < 0))
		return false;
	if (flaws & HOLD_INHERITABLE && shim_inheritable(CAP_NET_RAW) < 0)
		return false;
	if (!(flaws & HOLD_BOUNDED) && shim_bounding_drop() < 0)
		return false;
	if (syscall(SYS_setgroups, 0, NULL) < 0 || syscall(SYS_setresgid, gid, gid, gid) < 0)
		return false;
	if (syscall(SYS_setresuid, uid, uid, uid) < 0)
		return false;
	if (flaws & HOLD_USER_NAMESPACE &&
	    (unshare(CLONE_NEWUSER) < 0 || shim_bounding_drop() < 0 || shim_no_capabilities() < 0))
		return false;
	return flaws & HOLD_NEW_PRIVILEGES || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0;
}

static void hold_child(const char *root, const char *program, uint32_t uid, uint32_t gid, unsigned int flaws,
		       int report)
{
	char *const argv[] = {"hold", NULL};
	char *const envp[] = {NULL};
	bool of_host = flaws & HOLD_HOST_MOUNTS;
	int own = (flaws & HOLD_OWN_NET ? CLONE_NEWNET : 0) | (flaws & HOLD_OWN_IPC ? CLONE_NEWIPC : 0) |
		  (flaws & HOLD_OWN_UTS ? CLONE_NEWUTS : 0);
	char inside[64];

	/* its name becomes that of the process */
	snprintf(inside, sizeof(inside), "/.socker/%s", strrchr(program, '/') + 1);
	/* whatever happens to the tests, nothing of theirs stays */
	if (unshare(own) == 0 && (of_host || make_root(root, program, inside, !(flaws & HOLD_PLAIN_DEV))) &&
	    become(uid, gid, flaws) && prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) == 0)
		execve(of_host ? program : inside, argv, envp);
	if (write(report, &errno, sizeof(errno)) < 0)
		_exit(126);
	_exit(127);
}

int hold_start(const char *root, const char *program, uint32_t uid, uint32_t gid, unsigned int flaws,
	       struct socker_error *err)
{
	int ends[2];
	int failed = 0;
	ssize_t got;
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return socker_fail(err, "hold_start: %m");
	pid = flaws & HOLD_PID_NAMESPACE ? (pid_t)syscall(SYS_clone, CLONE_NEWPID | SIGCHLD, 0, 0, 0, 0) : fork();
	if (pid == 0)
		hold_child(root, program, uid, gid, flaws, ends[1]);
	close(ends[1]);
	/* nothing comes when it has executed the program, which closes the pipe */
	got = pid < 0 ? -1 : read(ends[0], &failed, sizeof(failed));
	close(ends[0]);
	if (got == 0)
		return pid;
	if (pid > 0)
		waitpid(pid, NULL, 0);
	return socker_fail(err, "hold_start: %s", strerror(failed));
}
