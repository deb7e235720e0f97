/* SPDX-License-Identifier: Apache-2.0 */
#include "token.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "scope.h"
#include "trust.h"

static int make_text(char text[SOCKER_TOKEN_SIZE], struct socker_error *err)
{
	unsigned char bytes[(SOCKER_TOKEN_SIZE - 1) / 2];

	if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes))
		return socker_fail(err, "no random bytes: %m");
	for (size_t i = 0; i < sizeof(bytes); i++)
		snprintf(text + 2 * i, 3, "%02x", bytes[i]);
	return 0;
}

static int make_file(int dir, const char *name, struct socker_error *err)
{
	char text[SOCKER_TOKEN_SIZE];
	char new_name[300];
	autofd fd = -1;

	if (make_text(text, err) < 0)
		return -1;
	snprintf(new_name, sizeof(new_name), "%.255s.%d", name, getpid());
	fd = openat(dir, new_name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, text, sizeof(text) - 1) != (ssize_t)sizeof(text) - 1)
		return socker_fail(err, "token: %m");
	/* of two that make it at once the first one's stays */
	if (linkat(dir, new_name, dir, name, 0) < 0 && errno != EEXIST)
		return socker_fail(err, "token: %m");
	unlinkat(dir, new_name, 0);
	return 0;
}

static int open_made(int dir, const char *name, struct socker_error *err)
{
	int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);

	if (fd >= 0 || errno != ENOENT)
		return fd;
	return make_file(dir, name, err) < 0 ? -1 : openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
}

int token_read(const char *path, char token[SOCKER_TOKEN_SIZE], struct socker_error *err)
{
	autofree char *copy = strdup(path);
	autofree char *last = strdup(path);
	struct stat status;
	autofd dir = -1;
	autofd fd = -1;
	int made;

	memset(token, 0, SOCKER_TOKEN_SIZE);
	if (!copy || !last)
		return socker_fail(err, "out of memory");
	/* the catalogue of images is in the default's directory, too, and dockerroot reads it; the token is 0600 */
	made = mkdir(dirname(copy), 0755);
	if (made < 0 && errno != EEXIST)
		return socker_fail(err, "%s: %m", copy);
	dir = trust_open_dir(copy, err);
	if (dir < 0)
		return -1;
	/* the opener's umask has taken that away */
	if (made == 0 && fchmod(dir, 0755) < 0)
		return socker_fail(err, "%s: %m", copy);
	fd = open_made(dir, basename(last), err);
	if (fd < 0 || fstat(fd, &status) < 0)
		return socker_fail(err, "%s: %m", path);
	if (!S_ISREG(status.st_mode) || status.st_uid != 0 || (status.st_mode & 077))
		return socker_fail(err, "%s: not a file of root's that only root can read", path);
	if (read(fd, token, SOCKER_TOKEN_SIZE - 1) != SOCKER_TOKEN_SIZE - 1 ||
	    strspn(token, "0123456789abcdef") != SOCKER_TOKEN_SIZE - 1)
		return socker_fail(err, "%s is damaged; remove it when no job runs on this node", path);
	return 0;
}
