/* SPDX-License-Identifier: Apache-2.0 */
#include "trust.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

#include "scope.h"

/* ACLs that grant a write to others show in the group bits, which are the mask then. */
static int trust_check(int fd, mode_t kind, const char *path, struct socker_error *err)
{
	struct stat status;

	if (fstat(fd, &status) < 0)
		return socker_fail(err, "%s: %m", path);
	if ((status.st_mode & S_IFMT) != kind)
		return socker_fail(err, "%s: not a %s", path, kind == S_IFDIR ? "directory" : "regular file");
	if (status.st_uid != 0)
		return socker_fail(err, "%s: belongs to uid %u, not to root", path, status.st_uid);
	if (status.st_mode & (S_IWGRP | S_IWOTH))
		return socker_fail(err, "%s: others than root can write it", path);
	return 0;
}

static int trust_step(int dir, const char *name, int flags, mode_t kind, const char *path, struct socker_error *err)
{
	autofd fd = openat(dir, name, flags | O_NOFOLLOW | O_CLOEXEC);
	struct stat status;

	if (fd < 0) {
		int cause = errno;
		/* with O_DIRECTORY a symlink is "not a directory" */
		bool link = fstatat(dir, name, &status, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(status.st_mode);

		socker_fail(err, "%s: %s", path, link ? "is a symlink" : strerror(cause));
		errno = cause;
		return -1;
	}
	if (trust_check(fd, kind, path, err) < 0) {
		errno = EPERM;
		return -1;
	}
	return steal_fd(&fd);
}

static int trust_walk(const char *path, int flags, mode_t kind, struct socker_error *err)
{
	autofree char *copy = strdup(path);
	autofd dir = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	char *rest = copy;
	char *name;

	if (!copy || dir < 0 || path[0] != '/')
		return socker_fail(err, "%s: %s", path, path[0] == '/' ? strerror(errno) : "not an absolute path");
	if (trust_check(dir, S_IFDIR, "/", err) < 0)
		return -1;
	while ((name = strsep(&rest, "/"))) {
		int last = !rest || rest[strspn(rest, "/")] == '\0';
		int next;

		if (!*name)
			continue;
		next = trust_step(dir, name, last ? flags : O_PATH | O_DIRECTORY, last ? kind : S_IFDIR, path, err);
		if (next < 0)
			return -1;
		close(dir);
		dir = next;
		if (last)
			break;
	}
	return steal_fd(&dir);
}

int trust_open_file(const char *path, struct socker_error *err)
{
	return trust_walk(path, O_RDONLY | O_NONBLOCK, S_IFREG, err);
}

int trust_open_dir(const char *path, struct socker_error *err)
{
	return trust_walk(path, O_RDONLY | O_DIRECTORY, S_IFDIR, err);
}

int trust_open_dir_at(int dir, const char *name, int make, struct socker_error *err)
{
	if (make && mkdirat(dir, name, 0700) < 0 && errno != EEXIST)
		return socker_fail(err, "%s: %m", name);
	return trust_step(dir, name, O_RDONLY | O_DIRECTORY, S_IFDIR, name, err);
}
