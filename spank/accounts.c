/* SPDX-License-Identifier: Apache-2.0 */
#include "accounts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "inside.h"
#include "scope.h"
#include "source.h"

/* 1: the file is one that the user has mounted from the host, and stays. */
static int write_file(const struct container *container, int dir, const char *name, const char *lines,
		      const char *target, struct socker_error *err)
{
	autofd file = -1;
	int error;

	unlinkat(dir, name, 0);
	file = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (file < 0 || fchmod(file, 0644) < 0 || write(file, lines, strlen(lines)) != (ssize_t)strlen(lines))
		return socker_fail(err, "the container's accounts cannot be written: %m");
	error = inside_copy(container->mnt, target, file);
	if (error == EPERM)
		return 1;
	return error ? socker_fail(err, "%s of the image cannot be read: %s", target, strerror(error)) : 0;
}

static int attach_file(const struct container *container, int dir, const char *key, const char *end, const char *lines,
		       const char *target, struct socker_error *err)
{
	char name[32];
	autofd file = -1;
	autofd tree = -1;
	int error;

	if (!lines[0])
		return 0;
	snprintf(name, sizeof(name), "%s.%s", key, end);
	error = write_file(container, dir, name, lines, target, err);
	if (error)
		return error < 0 ? -1 : 0;
	file = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	tree = file < 0 ? -1 : source_clone(file, SOCKER_MOUNT_READONLY);
	if (tree < 0)
		return socker_fail(err, "the container's accounts cannot be mounted: %m");
	error = inside_attach(container->mnt, tree, target, true, false);
	/* where it would lie in a directory that the user has mounted, there is none to cover */
	if (error && error != EPERM)
		return socker_fail(err, "%s of the image cannot be covered: %s", target, strerror(error));
	return 0;
}

int accounts_attach(const struct container *container, int dir, const char *key, const char *passwd, const char *group,
		    struct socker_error *err)
{
	if (attach_file(container, dir, key, "passwd", passwd, "/etc/passwd", err) < 0)
		return -1;
	return attach_file(container, dir, key, "group", group, "/etc/group", err);
}
