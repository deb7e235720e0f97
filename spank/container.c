/* SPDX-License-Identifier: Apache-2.0 */
#include "container.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <syslog.h>
#include <time.h>

#include "scope.h"

/* setns takes them in this order; the mount namespace is the last, since the host's /proc is gone behind it. */
const struct container_space container_spaces[CONTAINER_SPACES] = {
	{"net", CLONE_NEWNET, SOCKER_PLAN_NET},
	{"ipc", CLONE_NEWIPC, SOCKER_PLAN_IPC},
	{"uts", CLONE_NEWUTS, SOCKER_PLAN_UTS},
};

const struct container container_none = {.pidfd = -1, .mnt = -1, .spaces = {-1, -1, -1}};

static int pidfd_open_raw(int pid)
{
	return (int)syscall(SYS_pidfd_open, pid, 0);
}

static int pidfd_signal(int pidfd, int number)
{
	return (int)syscall(SYS_pidfd_send_signal, pidfd, number, NULL, 0);
}

void container_release(struct container *container)
{
	scope_close(&container->pidfd);
	scope_close(&container->mnt);
	for (int i = 0; i < CONTAINER_SPACES; i++)
		scope_close(&container->spaces[i]);
	*container = container_none;
}

/* Field 22 of /proc/PID/stat; the second field may hold anything, so fields are counted from its last ')'. */
static uint64_t process_start(int proc)
{
	char text[1024];
	const char *field;
	autofd fd = openat(proc, "stat", O_RDONLY | O_CLOEXEC);
	ssize_t size = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	if (size <= 0)
		return 0;
	text[size] = '\0';
	field = strrchr(text, ')');
	for (int number = 2; field && number < 22; number++)
		field = strchr(field + 1, ' ');
	return field ? strtoull(field + 1, NULL, 10) : 0;
}

static int open_proc(int pid)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/%d", pid);
	return open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

static int same_namespace(int proc, const char *name)
{
	char path[32];
	struct stat mine;
	struct stat theirs;

	snprintf(path, sizeof(path), "/proc/self/ns/%s", name);
	if (stat(path, &mine) < 0 || fstatat(proc, path + strlen("/proc/self/"), &theirs, 0) < 0)
		return -1;
	return mine.st_ino == theirs.st_ino && mine.st_dev == theirs.st_dev;
}

static const char *status_line(const char *status, const char *name)
{
	const char *line = strstr(status, name);

	return line ? line + strlen(name) : "";
}

static bool ids_are(const char *line, uint32_t id)
{
	uint32_t got[4];

	return sscanf(line, "%u %u %u %u", &got[0], &got[1], &got[2], &got[3]) == 4 && got[0] == id && got[1] == id &&
	       got[2] == id && got[3] == id;
}

/* Lines of /proc/PID/status that follow "Name:", which a process chooses, so each is looked up with its newline. */
static int check_status(int proc, uint32_t uid, uint32_t gid, struct socker_error *err)
{
	char status[8192];
	autofd fd = openat(proc, "status", O_RDONLY | O_CLOEXEC);
	ssize_t size = fd < 0 ? -1 : read(fd, status, sizeof(status) - 1);

	if (size <= 0)
		return socker_fail(err, "hold process: no status: %m");
	status[size] = '\0';
	if (!ids_are(status_line(status, "\nUid:"), uid) || !ids_are(status_line(status, "\nGid:"), gid))
		return socker_fail(err, "hold process: not uid %u and gid %u", uid, gid);
	for (const char *const *set =
		     (const char *const[]){"\nCapInh:", "\nCapPrm:", "\nCapEff:", "\nCapBnd:", "\nCapAmb:", NULL};
	     *set; set++) {
		if (strtoull(status_line(status, *set), NULL, 16) != 0 || !*status_line(status, *set))
			return socker_fail(err, "hold process: %s is not empty", *set + 1);
	}
	if (strtol(status_line(status, "\nNoNewPrivs:"), NULL, 10) != 1)
		return socker_fail(err, "hold process: no_new_privs is not set");
	if (strtol(status_line(status, "\nSeccomp:"), NULL, 10) != 2)
		return socker_fail(err, "Docker runs containers without a seccomp filter on this node");
	return 0;
}

static int read_facts(struct record_hold *hold, int proc, struct socker_error *err)
{
	struct stat exe;
	struct stat mnt;

	if (fstatat(proc, "exe", &exe, 0) < 0 || fstatat(proc, "ns/mnt", &mnt, 0) < 0)
		return socker_fail(err, "hold process: %m");
	hold->start = process_start(proc);
	hold->exe_dev = exe.st_dev;
	hold->exe_inode = exe.st_ino;
	hold->mnt_inode = mnt.st_ino;
	return hold->start ? 0 : socker_fail(err, "hold process: no start time");
}

/*
 * Docker says that a container runs when runc's init, which has its ids, filter and namespaces already, is about to
 * execute the hold binary. Reads the facts until it has, for at most a second.
 */
static int read_facts_of_hold(struct record_hold *hold, int proc, const struct stat *binary, struct socker_error *err)
{
	for (int attempt = 0; attempt < 5000; attempt++) {
		if (read_facts(hold, proc, err) < 0)
			return -1;
		if (hold->exe_dev == binary->st_dev && hold->exe_inode == binary->st_ino)
			return 0;
		nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
	}
	return socker_fail(err, "hold process: pid %d is another program", hold->pid);
}

int container_identify(struct record_hold *hold, int pid, const char *hold_path, uint32_t uid, uint32_t gid,
		       struct socker_error *err)
{
	struct record_hold facts = {.pid = pid};
	struct stat binary;
	autofd pidfd = pidfd_open_raw(pid);
	autofd proc = pidfd < 0 ? -1 : open_proc(pid);

	/* filled when all of it has been checked: what a failure left here would be killed */
	*hold = (struct record_hold){0};
	if (pid <= 1 || proc < 0)
		return socker_fail(err, "the hold process ended as soon as it was started");
	if (stat(hold_path, &binary) < 0)
		return socker_fail(err, "%s: %m", hold_path);
	if (read_facts_of_hold(&facts, proc, &binary, err) < 0 || check_status(proc, uid, gid, err) < 0)
		return -1;
	if (same_namespace(proc, "user") != 1)
		return socker_fail(err, "hold process: in a user namespace; Docker must create it with userns=host");
	if (same_namespace(proc, "pid") != 1)
		return socker_fail(err, "hold process: not in the host's pid namespace");
	if (same_namespace(proc, "mnt") != 0)
		return socker_fail(err, "hold process: has no mount namespace of its own");
	if (pidfd_signal(pidfd, 0) < 0)
		return socker_fail(err, "the hold process ended as soon as it was started");
	*hold = facts;
	return 0;
}

void container_protect(const struct record_hold *hold)
{
	char path[48];
	autofd fd = -1;

	snprintf(path, sizeof(path), "/proc/%d/oom_score_adj", hold->pid);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, "-999", 4) != 4)
		syslog(LOG_DEBUG, "the hold process %d keeps its OOM score: %m", hold->pid);
}

/* A namespace that the container is said to have of its own and shares with the host is a mistake of Docker's. */
static int open_spaces(struct container *container, int proc, uint32_t flags)
{
	for (int i = 0; i < CONTAINER_SPACES; i++) {
		char path[16];

		if (!(flags & container_spaces[i].flag))
			continue;
		snprintf(path, sizeof(path), "ns/%s", container_spaces[i].name);
		if (same_namespace(proc, container_spaces[i].name) != 0)
			return -1;
		container->spaces[i] = openat(proc, path, O_RDONLY | O_CLOEXEC);
		if (container->spaces[i] < 0)
			return -1;
	}
	return 0;
}

int container_attach(struct container *container, const struct record_hold *hold, uint32_t flags,
		     struct socker_error *err)
{
	struct record_hold now = {.pid = hold->pid};
	autofd pidfd = pidfd_open_raw(hold->pid);
	autofd proc = pidfd < 0 ? -1 : open_proc(hold->pid);
	autofd mnt = proc < 0 ? -1 : openat(proc, "ns/mnt", O_RDONLY | O_CLOEXEC);

	*container = container_none;
	if (mnt < 0 || open_spaces(container, proc, flags) < 0 || read_facts(&now, proc, err) < 0 ||
	    now.start != hold->start || now.exe_dev != hold->exe_dev || now.exe_inode != hold->exe_inode ||
	    now.mnt_inode != hold->mnt_inode || pidfd_signal(pidfd, 0) < 0) {
		container_release(container);
		err->text[0] = '\0';
		return socker_fail(err, "the container is gone: Docker or somebody ended it; submit the job again");
	}
	container->pidfd = steal_fd(&pidfd);
	container->mnt = steal_fd(&mnt);
	return 0;
}

int container_lives(const struct container *container, struct socker_error *err)
{
	return pidfd_signal(container->pidfd, 0) == 0 ? 0 : socker_fail(err, "the hold process has ended");
}

static void kill_if_inside(int pid, uint64_t mnt_inode)
{
	struct stat mnt;
	autofd pidfd = pidfd_open_raw(pid);
	autofd proc = pidfd < 0 ? -1 : open_proc(pid);

	if (proc < 0 || fstatat(proc, "ns/mnt", &mnt, 0) < 0 || mnt.st_ino != mnt_inode)
		return;
	pidfd_signal(pidfd, SIGKILL);
}

/*
 * Tasks are ended by Slurm before the epilog. What is left after a killed slurmstepd is not, and would keep the
 * container's file system busy. The hold process is the last, so that the namespace's number stays taken.
 */
void container_kill(const struct record_hold *hold)
{
	struct container container;
	struct socker_error gone = {0};
	autoclosedir DIR *proc = NULL;
	struct dirent *entry;
	struct stat own;

	if (container_attach(&container, hold, 0, &gone) < 0)
		return;
	/* container_identify has refused such a hold process; but what follows must never be about the host */
	if (stat("/proc/self/ns/mnt", &own) < 0 || own.st_ino == hold->mnt_inode) {
		container_release(&container);
		return;
	}
	proc = opendir("/proc");
	while (proc && (entry = readdir(proc))) {
		int pid = atoi(entry->d_name);

		if (pid > 1 && pid != hold->pid)
			kill_if_inside(pid, hold->mnt_inode);
	}
	pidfd_signal(container.pidfd, SIGKILL);
	poll(&(struct pollfd){.fd = container.pidfd, .events = POLLIN}, 1, 2000);
	container_release(&container);
}
