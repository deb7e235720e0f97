/* SPDX-License-Identifier: Apache-2.0 */
#include "inside.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <sys/statvfs.h>
#include <sys/wait.h>

#include "mountapi.h"
#include "place.h"
#include "request.h"
#include "scope.h"
#include "source.h"
#include "visit.h"

static int open_below(int root, const char *path)
{
	return openat2_raw(root, path, O_PATH, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
}

/* The child's descriptors in the host's /proc, opened before the container, whose /proc is not relied on, is entered.
 */
static int open_descriptors(void)
{
	return open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);
}

/* Opens for reading what is open as a place: no path is walked again, since a link in it may have changed. */
static int reopen(int descriptors, int fd)
{
	char name[16];

	snprintf(name, sizeof(name), "%d", fd);
	return openat(descriptors, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
}

/*
 * Whether a target has led, links followed, to where nothing may be mounted. The root above all: what lay on it would
 * be the root of everything that enters from then on, root's own visits included.
 */
static bool is_refused(int descriptors, int fd, const char *target)
{
	char name[16];
	char path[SOCKER_PATH_SIZE];
	ssize_t size;

	snprintf(name, sizeof(name), "%d", fd);
	size = readlinkat(descriptors, name, path, sizeof(path) - 1);
	if (size < 0 || size == sizeof(path) - 1)
		return true;
	path[size] = '\0';
	/* of socker's own, by its very name: what a user asks for there does not come here (mounts.c) */
	if (path_below(target, "/.socker") && strcmp(target, path) == 0)
		return false;
	return path[0] != '/' || place_is_refused(path, path_below(target, "/dev"));
}

/*
 * File systems of the host, by device number: read before the container is entered, so that a tmpfs which covers a
 * volume of the image is told from one that the host lent.
 */
struct host_devices {
	uint32_t count;
	dev_t list[512];
};

static void read_host_devices(struct host_devices *host)
{
	char line[4096];
	autofclose FILE *mounts = fopen("/proc/self/mountinfo", "re");

	host->count = 0;
	while (mounts && host->count < 512 && fgets(line, sizeof(line), mounts)) {
		unsigned int major_number;
		unsigned int minor_number;

		if (strstr(line, " - tmpfs ") && sscanf(line, "%*s %*s %u:%u", &major_number, &minor_number) == 2)
			host->list[host->count++] = makedev(major_number, minor_number);
	}
}

/* In the image's own layer, or on a tmpfs that covers one of its volumes: not on what the host lent. */
static bool is_containers_own(const struct host_devices *host, int root, int fd)
{
	struct statx of_root;
	struct statx of_fd;
	struct stat status;

	if (statx(root, "", AT_EMPTY_PATH, STATX_MNT_ID, &of_root) < 0 ||
	    statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &of_fd) < 0 || fstat(fd, &status) < 0)
		return false;
	if (of_root.stx_mnt_id == of_fd.stx_mnt_id)
		return true;
	for (uint32_t i = 0; i < host->count; i++) {
		if (host->list[i] == status.st_dev)
			return false;
	}
	return host->count < 512 && visit_fs_type(fd) == TMPFS_MAGIC;
}

/* Makes it beside the tasks: their root may be read-only, and stays so. */
static int make_in_copy(int root, const char *parent, const char *name, bool directory)
{
	struct mount_attr writable = {.attr_clr = MOUNT_ATTR_RDONLY};
	autofd copy = open_tree_raw(root, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
	autofd dir = -1;

	if (copy < 0 || mount_setattr_raw(copy, "", AT_EMPTY_PATH, &writable) < 0)
		return -1;
	dir = open_below(copy, parent);
	return dir < 0 ? -1 : directory ? mkdirat(dir, name, 0755) : mknodat(dir, name, S_IFREG | 0644, 0);
}

static int make_entry(const struct host_devices *host, int root, const char *parent, const char *name, bool directory)
{
	autofd dir = open_below(root, parent);

	if (dir < 0)
		return -1;
	if (!is_containers_own(host, root, dir)) {
		errno = EPERM;
		return -1;
	}
	if ((directory ? mkdirat(dir, name, 0755) : mknodat(dir, name, S_IFREG | 0644, 0)) == 0)
		return 0;
	return errno == EROFS ? make_in_copy(root, parent, name, directory) : -1;
}

/* Opens target below root, making what is missing of it. Returns -1 and errno. */
static int open_target(const struct host_devices *host, int root, const char *target, bool file)
{
	char path[SOCKER_PATH_SIZE];
	int fd = open_below(root, target);

	if (fd >= 0 || errno != ENOENT)
		return fd;
	snprintf(path, sizeof(path), "%s", target);
	for (char *slash = path; slash;) {
		char *name = slash + 1;
		autofd present = -1;

		slash = strchr(name, '/');
		if (slash)
			*slash = '\0';
		present = open_below(root, path);
		name[-1] = '\0';
		if (present < 0 &&
		    (errno != ENOENT || make_entry(host, root, path[0] ? path : "/", name, slash || !file)))
			return -1;
		name[-1] = '/';
		if (slash)
			*slash = '/';
	}
	return open_below(root, target);
}

/* A host's file that is lent as a part of a directory needs no mount of its own, where it is as writable. */
static bool is_there(int tree, int fd, const struct stat *status)
{
	struct stat of_tree;
	struct statvfs of_tree_fs;
	struct statvfs fs;

	return fstat(tree, &of_tree) == 0 && of_tree.st_dev == status->st_dev && of_tree.st_ino == status->st_ino &&
	       fstatvfs(tree, &of_tree_fs) == 0 && fstatvfs(fd, &fs) == 0 &&
	       (of_tree_fs.f_flag & ST_RDONLY) == (fs.f_flag & ST_RDONLY);
}

static int attach_here(const struct host_devices *host, int descriptors, int tree, const char *target, bool file,
		       bool over_lent)
{
	autofd root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	autofd fd = root < 0 ? -1 : open_target(host, root, target, file);
	struct stat status;

	if (fd < 0 || fstat(fd, &status) < 0)
		return errno;
	if (S_ISDIR(status.st_mode) == file || S_ISLNK(status.st_mode))
		return file ? EISDIR : ENOTDIR;
	if (is_refused(descriptors, fd, target))
		return EPERM;
	if (!is_containers_own(host, root, fd)) {
		if (is_there(tree, fd, &status))
			return 0;
		if (!over_lent || source_is_kernels(fd))
			return EPERM;
	}
	return move_mount_raw(tree, fd) < 0 ? errno : 0;
}

/* The causes, in the order of the list; the child's. */
static void attach_all_here(int mnt, const struct inside_mount *list, uint32_t count, int32_t causes[])
{
	struct host_devices host;
	int descriptors = open_descriptors();
	int failed = 0;

	read_host_devices(&host);
	umask(022);
	if (descriptors < 0 || setns(mnt, CLONE_NEWNS) < 0)
		failed = errno ? errno : ECHILD; /* never on the host */
	for (uint32_t i = 0; i < count; i++)
		causes[i] = failed ? failed
				   : attach_here(&host, descriptors, list[i].tree, list[i].target, list[i].file,
						 list[i].over_lent);
}

void inside_attach_all(int mnt, struct inside_mount list[], uint32_t count)
{
	int32_t causes[SOCKER_MOUNTS_MAX] = {0};
	ssize_t size = (ssize_t)(count * sizeof(causes[0]));
	int ends[2] = {-1, -1};
	bool told;
	pid_t child;

	for (uint32_t i = 0; i < count; i++)
		list[i].error = ECHILD;
	if (count == 0 || count > SOCKER_MOUNTS_MAX || pipe2(ends, O_CLOEXEC) < 0)
		return;
	child = visit_fork();
	if (child == 0) {
		attach_all_here(mnt, list, count, causes);
		_exit(write(ends[1], causes, (size_t)size) != size);
	}
	scope_close(&ends[1]);
	told = child > 0 && read(ends[0], causes, (size_t)size) == size;
	scope_close(&ends[0]);
	if (child > 0)
		waitpid(child, NULL, 0);
	for (uint32_t i = 0; i < count && told; i++)
		list[i].error = causes[i];
}

int inside_attach(int mnt, int tree, const char *target, bool file, bool over_lent)
{
	struct inside_mount one = {.tree = tree, .target = target, .file = file, .over_lent = over_lent};

	inside_attach_all(mnt, &one, 1);
	return one.error;
}

static int copy_here(const struct host_devices *host, int descriptors, const char *path, int to)
{
	static char text[INSIDE_COPY_MAX];
	autofd root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	autofd look = open_below(root, path);
	autofd file = -1;
	struct stat status;
	ssize_t size;

	if (look < 0)
		return errno == ENOENT ? 0 : errno;
	/* a device or a pipe is not even opened */
	if (fstat(look, &status) < 0 || !S_ISREG(status.st_mode))
		return EINVAL;
	/* what the host lent is the user's to read, or not, but not root's for the user */
	if (!is_containers_own(host, root, look))
		return EPERM;
	file = reopen(descriptors, look);
	size = file < 0 ? -1 : read(file, text, sizeof(text));
	return size < 0 || write(to, text, (size_t)size) != size ? errno : 0;
}

int inside_copy(int mnt, const char *path, int to)
{
	struct host_devices host;
	pid_t child = visit_fork();

	if (child == 0) {
		int descriptors = open_descriptors();

		read_host_devices(&host);
		_exit(descriptors < 0 || setns(mnt, CLONE_NEWNS) < 0 ? errno : copy_here(&host, descriptors, path, to));
	}
	return visit_end(child);
}
