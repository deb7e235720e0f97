/* SPDX-License-Identifier: Apache-2.0 */
/* The visits that change what the container's mounts allow, and take what is ours out of it. */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

#include "inside.h"
#include "mountapi.h"
#include "scope.h"
#include "visit.h"

/* Linux before 5.12 has no mount_setattr: each mount is remounted by its path, which the kernel itself names. */
static int flag_each_mount(void)
{
	char line[8192];
	autofclose FILE *mounts = fopen("/proc/self/mountinfo", "re");

	while (mounts && fgets(line, sizeof(line), mounts)) {
		char point[4096];
		char options[512];
		unsigned long flags = MS_REMOUNT | MS_BIND | MS_NOSUID;

		if (sscanf(line, "%*s %*s %*s %*s %4095s %511s", point, options) != 2)
			return -1;
		if (strcmp(point, "/dev") != 0 && strcmp(point, "/dev/pts") != 0)
			flags |= MS_NODEV;
		flags |= strncmp(options, "ro,", 3) == 0 || strcmp(options, "ro") == 0 ? MS_RDONLY : 0;
		flags |= strstr(options, "noexec") ? MS_NOEXEC : 0;
		flags |= strstr(options, "relatime") ? MS_RELATIME : strstr(options, "noatime") ? MS_NOATIME : 0;
		if (mount(NULL, point, NULL, flags, NULL) < 0)
			return -1;
	}
	return mounts ? 0 : -1;
}

static int flag_mounts(int root, int dev, int pts)
{
	struct mount_attr all = {.attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV};
	struct mount_attr devices = {.attr_clr = MOUNT_ATTR_NODEV};

	if (mount_setattr_raw(root, "", AT_EMPTY_PATH | AT_RECURSIVE, &all) == 0)
		return mount_setattr_raw(dev, "", AT_EMPTY_PATH, &devices) < 0
			       ? -1
			       : mount_setattr_raw(pts, "", AT_EMPTY_PATH, &devices);
	return errno == ENOSYS ? flag_each_mount() : -1;
}

/*
 * A task's terminal is one of the host's devpts, and must have its name inside. /dev/ptmx finds the devpts that is
 * mounted beside it, so it must be a node of its own here: the one in devpts may be closed to users (ptmxmode=000).
 */
static int put_devpts(int dev, int pts)
{
	autofd point = openat(dev, "pts", O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (point < 0 || move_mount_raw(pts, point) < 0)
		return -1;
	if (unlinkat(dev, "ptmx", 0) < 0 && errno != ENOENT)
		return -1;
	umask(0);
	return mknodat(dev, "ptmx", S_IFCHR | 0666, makedev(5, 2));
}

/* The container's /proc is a procfs of its own, whose options runc does not take from the host's. */
static int hide_processes(int root, const char *options)
{
	autofd proc = openat(root, "proc", O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (!options[0])
		return 0;
	if (proc < 0 || visit_fs_type(proc) != PROC_SUPER_MAGIC)
		return -1;
	return mount(NULL, "/proc", NULL, MS_REMOUNT | MS_NOSUID | MS_NODEV | MS_NOEXEC, options);
}

/* The number of the part that failed, for the message outside. */
static int harden_here(int pts, const char *proc_options)
{
	autofd root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	autofd dev = openat(root, "dev", O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	/* runc mounts a tmpfs there; what is not one may be the image's */
	if (root < 0 || dev < 0 || visit_fs_type(dev) != TMPFS_MAGIC)
		return 1;
	if (put_devpts(dev, pts) < 0)
		return 2;
	if (flag_mounts(root, dev, pts) < 0)
		return 3;
	return hide_processes(root, proc_options) < 0 ? 4 : 0;
}

int inside_harden(int mnt, int pts, const char *proc_options, struct socker_error *err)
{
	static const char *const parts[] = {
		"could not be entered", "has no /dev of its own", "could not be given the host's /dev/pts",
		"could not be made nodev and nosuid", "could not be given the host's hidepid"};
	int status = 0;
	pid_t child = visit_fork();

	if (child == 0) {
		int part;

		if (setns(mnt, CLONE_NEWNS) < 0)
			_exit(100);
		part = harden_here(pts, proc_options);
		_exit(part ? 100 + part : 0);
	}
	if (child < 0 || waitpid(child, &status, 0) != child)
		return socker_fail(err, "no process to look after the container's mounts: %m");
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	if (WIFEXITED(status) && WEXITSTATUS(status) >= 100 && WEXITSTATUS(status) < 105)
		return socker_fail(err, "the container %s on this node; tell your administrator",
				   parts[WEXITSTATUS(status) - 100]);
	return socker_fail(err, "the container's mounts could not be set up (status %d)", status);
}

static int show_cgroups_here(int tree)
{
	autofd root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	autofd sys = root < 0 ? -1 : openat(root, "sys", O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	autofd fs = -1;
	autofd point = -1;

	if (sys < 0 || visit_fs_type(sys) != SYSFS_MAGIC)
		return ENODEV;
	fs = openat(sys, "fs", O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	point = fs < 0 ? -1 : openat(fs, "cgroup", O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return point < 0 || move_mount_raw(tree, point) < 0 ? errno : 0;
}

int inside_show_cgroups(int mnt, int tree)
{
	pid_t child = visit_fork();

	if (child == 0)
		_exit(setns(mnt, CLONE_NEWNS) < 0 ? errno : show_cgroups_here(tree));
	return visit_end(child);
}

static int protect_here(void)
{
	struct mount_attr read_only = {.attr_set = MOUNT_ATTR_RDONLY};
	autofd root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);

	return root < 0 || mount_setattr_raw(root, "", AT_EMPTY_PATH, &read_only) < 0 ? errno : 0;
}

int inside_protect(int mnt, struct socker_error *err)
{
	pid_t child = visit_fork();
	int error;

	if (child == 0)
		_exit(setns(mnt, CLONE_NEWNS) < 0 ? errno : protect_here());
	error = visit_end(child);
	return error ? socker_fail(err, "the container's root cannot be made read-only: %s", strerror(error)) : 0;
}

/* The mounts first, then the empty files they lay on, in a copy of the root that can be written. */
static int clear_here(void)
{
	static const char *const files[] = {"hold", "entry"};
	struct mount_attr writable = {.attr_clr = MOUNT_ATTR_RDONLY};
	autofd root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	autofd ours = root < 0 ? -1 : openat(root, ".socker", O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	autofd copy = -1;
	autofd dir = -1;

	if (ours < 0 || fchdir(ours) < 0)
		return errno == ENOENT ? 0 : errno;
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		/* EINVAL: no mount, after a save that failed behind this */
		if (umount2(files[i], MNT_DETACH | UMOUNT_NOFOLLOW) < 0 && errno != EINVAL && errno != ENOENT)
			return errno;
	}
	copy = open_tree_raw(root, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
	if (copy < 0 || mount_setattr_raw(copy, "", AT_EMPTY_PATH, &writable) < 0)
		return errno;
	dir = openat(copy, ".socker", O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		if (dir < 0 || (unlinkat(dir, files[i], 0) < 0 && errno != ENOENT))
			return errno;
	}
	/* an image may have something of its own in there */
	return unlinkat(copy, ".socker", AT_REMOVEDIR) < 0 && errno != ENOTEMPTY ? errno : 0;
}

int inside_clear(int mnt, struct socker_error *err)
{
	pid_t child = visit_fork();
	int error;

	if (child == 0)
		_exit(setns(mnt, CLONE_NEWNS) < 0 ? errno : clear_here());
	error = visit_end(child);
	return error ? socker_fail(err, "the container's layer cannot be cleared: %s", strerror(error)) : 0;
}
