/* SPDX-License-Identifier: Apache-2.0 */
#include "saving.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/stat.h>

#include "record.h"
#include "request.h"
#include "scope.h"

int saving_open(const char *state, struct socker_error *err)
{
	autofd dir = record_open_state(state, 1, err);
	autofd fd = dir < 0 ? -1 : openat(dir, "saving", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);

	return fd < 0 ? socker_fail(err, "%s/saving: %m", state) : steal_fd(&fd);
}

/* An opener that was given none has some other descriptor, or nothing, by its number. */
static bool is_the_file(int fd, const char *state)
{
	struct socker_error ignored = {0};
	autofd dir = record_open_state(state, 0, &ignored);
	struct stat named;
	struct stat given;

	return dir >= 0 && fstatat(dir, "saving", &named, AT_SYMLINK_NOFOLLOW) == 0 && fstat(fd, &given) == 0 &&
	       S_ISREG(given.st_mode) && named.st_dev == given.st_dev && named.st_ino == given.st_ino;
}

int saving_lock(int fd, const char *state, const char *reference, struct socker_error *err)
{
	struct flock byte = {
		.l_type = F_WRLCK,
		.l_whence = SEEK_SET,
		.l_start = (off_t)(request_hash(reference) >> 2),
		.l_len = 1,
	};

	if (!is_the_file(fd, state))
		return socker_fail(err, "the opener cannot lock the image %.200s; the plugin is of another version",
				   reference);
	if (fcntl(fd, F_OFD_SETLK, &byte) == 0)
		return 0;
	if (errno == EAGAIN || errno == EACCES)
		return socker_fail(err, "another step on this node saves its container as %.200s; give another name",
				   reference);
	return socker_fail(err, "the image %.200s cannot be locked: %m", reference);
}
