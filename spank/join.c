/* SPDX-License-Identifier: Apache-2.0 */
#include "join.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/magic.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "confine.h"
#include "options.h"
#include "request.h"
#include "scope.h"
#include "syscalls.h"

int join_prepare(struct join *join, struct socker_error *err)
{
	struct statfs fs;

	join->apparmor = -1;
	if (join->record->label[0]) {
		join->apparmor = open("/proc/thread-self/attr/apparmor/exec", O_WRONLY | O_CLOEXEC);
		if (join->apparmor < 0 || fstatfs(join->apparmor, &fs) < 0 || fs.f_type != PROC_SUPER_MAGIC)
			return socker_fail(err, "the AppArmor profile of the container cannot be set: %m");
	}
	return confine_keep(err);
}

static int narrow(struct join *join, struct socker_error *err)
{
	(void)join;
	return confine_narrow(err);
}

/*
 * Slurm opens its own descriptors O_CLOEXEC, but one directory that it or another plugin forgot would be a way out. So
 * all are closed on exec, but for the socket of PMI that the task is meant to inherit.
 */
static int close_inherited(struct join *join, struct socker_error *err)
{
	unsigned int kept = join->kept < 3 ? 2 : (unsigned int)join->kept;
	struct stat status;

	if (kept > 2 && (fstat(join->kept, &status) < 0 || !S_ISSOCK(status.st_mode)))
		kept = 2;
	if ((kept > 3 && syscall(SYS_close_range, 3, kept - 1, CLOSE_RANGE_CLOEXEC) < 0) ||
	    syscall(SYS_close_range, kept + 1, ~0U, CLOSE_RANGE_CLOEXEC) < 0)
		return socker_fail(err, "inherited descriptors cannot be closed: %m (Linux 5.11 or newer is needed)");
	return 0;
}

static int enter(struct join *join, struct socker_error *err)
{
	struct stat root;
	struct stat before;

	for (int i = 0; i < CONTAINER_SPACES; i++) {
		if (join->container->spaces[i] >= 0 && setns(join->container->spaces[i], container_spaces[i].type) < 0)
			return socker_fail(err, "the container's %s namespace cannot be entered: %m",
					   container_spaces[i].name);
	}
	if (stat("/", &before) < 0 || setns(join->container->mnt, CLONE_NEWNS) < 0)
		return socker_fail(err, "the container cannot be entered: %m");
	if (stat("/", &root) < 0 || (root.st_dev == before.st_dev && root.st_ino == before.st_ino))
		return socker_fail(err, "the container was entered but its root is the host's");
	container_release(join->container);
	return 0;
}

static bool go_to(const char *path)
{
	char reached[SOCKER_PATH_SIZE];
	autofd fd = openat2_raw(AT_FDCWD, path, O_PATH | O_DIRECTORY, RESOLVE_NO_MAGICLINKS);

	/* "(unreachable)/x" is what getcwd says of a directory outside the root */
	return fd >= 0 && fchdir(fd) == 0 && getcwd(reached, sizeof(reached)) && reached[0] == '/';
}

/* The directory that was asked for, else the step's where it is one of the container too, else the image's (D12). */
static int change_directory(struct join *join, struct socker_error *err)
{
	const char *cwd = join->request->cwd;

	if (join->options->workdir[0])
		return go_to(join->options->workdir)
			       ? 0
			       : socker_fail(err, "the working directory %.600s is none in the container: %m",
					     join->options->workdir);
	if (cwd[0] == '/' && !path_below(cwd, "/proc") && go_to(cwd))
		return 0;
	if (go_to(join->record->text + join->record->workdir) || go_to("/"))
		return 0;
	return socker_fail(err, "no working directory in the container: %m");
}

static int drop(struct join *join, struct socker_error *err)
{
	if (confine_drop(join->record, join->apparmor, err) < 0)
		return -1;
	scope_close(&join->apparmor);
	join->apparmor = -1;
	return 0;
}

static int verify(struct join *join, struct socker_error *err)
{
	return confine_verify(join->request, err);
}

int join_container(struct join *join, struct socker_error *err)
{
	static int (*const operations[])(struct join *, struct socker_error *) = {
		narrow, close_inherited, enter, change_directory, drop, verify,
	};

	for (size_t i = 0; i < sizeof(operations) / sizeof(operations[0]); i++) {
		if (operations[i](join, err) < 0)
			return -1;
	}
	return 0;
}
