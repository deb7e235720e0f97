/* SPDX-License-Identifier: Apache-2.0 */
#include "source.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/magic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "mountapi.h"
#include "request.h"
#include "scope.h"

/* Kernel file systems are the container's own or nobody's. */
bool source_is_kernels(int fd)
{
	struct statfs fs;

	if (fstatfs(fd, &fs) < 0)
		return true;
	switch ((unsigned long)fs.f_type) {
	case PROC_SUPER_MAGIC:
	case SYSFS_MAGIC:
	case CGROUP_SUPER_MAGIC:
	case CGROUP2_SUPER_MAGIC:
	case DEVPTS_SUPER_MAGIC:
	case DEBUGFS_MAGIC:
	case TRACEFS_MAGIC:
	case SECURITYFS_MAGIC:
	case BPF_FS_MAGIC:
		return true;
	default:
		return false;
	}
}

/* Opens source; with a base, nothing outside of it. EXDEV: a link leads out. */
static int open_path(const char *source, uint32_t base)
{
	char directory[SOCKER_PATH_SIZE];
	autofd top = -1;

	if (base == 0)
		return openat2_raw(AT_FDCWD, source, O_PATH, RESOLVE_NO_MAGICLINKS);
	snprintf(directory, sizeof(directory), "%.*s", (int)base, source);
	top = openat2_raw(AT_FDCWD, directory, O_PATH, RESOLVE_NO_MAGICLINKS);
	if (top < 0)
		return -1;
	source += base + strspn(source + base, "/");
	return openat2_raw(top, source[0] ? source : ".", O_PATH, RESOLVE_NO_MAGICLINKS | RESOLVE_BENEATH);
}

/* Where it lies, links followed, in this mount namespace. */
static int path_of(int fd, char *path, size_t size)
{
	char name[32];
	ssize_t length;

	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	length = readlink(name, path, size - 1);
	path[length < 0 ? 0 : length] = '\0';
	return length < 0 ? -1 : 0;
}

/* Whether it lies where the kernel's file systems are mounted, or is the root that has them all. */
static bool is_below_kernels(int fd)
{
	static const char *const trees[] = {"/proc", "/sys", "/dev"};
	char path[SOCKER_PATH_SIZE];

	if (path_of(fd, path, sizeof(path)) < 0)
		return true;
	for (size_t i = 0; i < sizeof(trees) / sizeof(trees[0]); i++) {
		if (path_below(path, trees[i]))
			return true;
	}
	return strcmp(path, "/") == 0;
}

/* Whether something is mounted below a directory: without it, a user would see what it hides. */
static bool hides_something(int fd)
{
	char path[SOCKER_PATH_SIZE];
	char line[8192];
	autofclose FILE *mounts = fopen("/proc/self/mountinfo", "re");

	/* mountinfo writes some characters in another way, so a path with one of them is found nowhere in it */
	if (!mounts || path_of(fd, path, sizeof(path)) < 0 || strpbrk(path, " \t\n\\"))
		return true;
	while (fgets(line, sizeof(line), mounts)) {
		char point[4096];

		if (sscanf(line, "%*s %*s %*s %*s %4095s", point) != 1 ||
		    (path_below(point, path) && strcmp(point, path) != 0))
			return true;
	}
	return false;
}

/* Opens source as the user would; a directory must be one the user may enter. Returns -1 and errno. */
static int open_as_user(const struct socker_request *request, const char *source, uint32_t base)
{
	struct stat status;
	autofd inside = -1;
	autofd fd = -1;
	int cause = 0;

	if (setgroups(request->group_count, request->groups) < 0)
		return -1;
	setfsgid(request->gid);
	/* the kernel takes the file capabilities out of the effective set with this, and gives them back below */
	setfsuid(request->uid);
	fd = open_path(source, base);
	if (fd < 0 || fstat(fd, &status) < 0)
		cause = errno;
	else if (S_ISDIR(status.st_mode) && (inside = openat(fd, ".", O_PATH | O_CLOEXEC)) < 0)
		cause = errno;
	setfsuid(0);
	setfsgid(0);
	if (setgroups(0, NULL) < 0)
		return -1;
	if (!cause && !S_ISDIR(status.st_mode) && !S_ISREG(status.st_mode))
		cause = ENOTBLK;
	if (!cause && (source_is_kernels(fd) || is_below_kernels(fd)))
		cause = EPERM;
	errno = cause;
	return cause ? -1 : steal_fd(&fd);
}

/* A device node that policy names is root's to open: the cgroup of the job decides who may use it. */
static int open_device(const char *source)
{
	autofd fd = openat2_raw(AT_FDCWD, source, O_PATH, RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS);
	struct stat status;

	if (fd < 0 || fstat(fd, &status) < 0)
		return -1;
	if (!S_ISCHR(status.st_mode) && !S_ISBLK(status.st_mode)) {
		errno = ENODEV;
		return -1;
	}
	return steal_fd(&fd);
}

int source_clone(int source, uint32_t flags)
{
	struct mount_attr attr = {
		.attr_set = MOUNT_ATTR_NOSUID | (flags & SOCKER_MOUNT_DEVICE ? 0 : MOUNT_ATTR_NODEV) |
			    (flags & SOCKER_MOUNT_READONLY ? MOUNT_ATTR_RDONLY : 0),
		.propagation = MS_PRIVATE,
	};
	unsigned int depth = AT_EMPTY_PATH | (flags & SOCKER_MOUNT_FLAT ? 0 : AT_RECURSIVE);
	autofd tree = open_tree_raw(source, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | depth);

	if (tree < 0 || mount_setattr_raw(tree, "", depth, &attr) < 0)
		return -1;
	return steal_fd(&tree);
}

/* options: "mode=1777,size=64m". */
static int make_tmpfs(const char *options, uint32_t flags)
{
	unsigned int attributes =
		MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | (flags & SOCKER_MOUNT_READONLY ? MOUNT_ATTR_RDONLY : 0);
	char words[256];
	char *rest = words;
	char *word;
	autofd fs = fsopen_raw("tmpfs");

	if (fs < 0)
		return -1;
	errno = EINVAL;
	if ((size_t)snprintf(words, sizeof(words), "%s", options) >= sizeof(words))
		return -1;
	while ((word = strsep(&rest, ","))) {
		char *value = strchr(word, '=');

		if (!value)
			return -1;
		*value++ = '\0';
		if (fsconfig_raw(fs, FSCONFIG_SET_STRING, word, value) < 0)
			return -1;
	}
	if (fsconfig_raw(fs, FSCONFIG_CMD_CREATE, NULL, NULL) < 0)
		return -1;
	return fsmount_raw(fs, attributes);
}

int source_open(const struct socker_request *request, const char *source, uint32_t base, uint32_t flags, int *file)
{
	struct stat status;
	autofd fd = -1;

	*file = 0;
	if (flags & SOCKER_MOUNT_TMPFS)
		return make_tmpfs(source, flags);
	fd = flags & SOCKER_MOUNT_DEVICE ? open_device(source) : open_as_user(request, source, base);
	if (fd < 0 || fstat(fd, &status) < 0)
		return -1;
	*file = !S_ISDIR(status.st_mode);
	if ((flags & SOCKER_MOUNT_FLAT) && (flags & SOCKER_MOUNT_ASKED) && hides_something(fd)) {
		errno = EBUSY;
		return -1;
	}
	return source_clone(fd, flags);
}
