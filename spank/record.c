/* SPDX-License-Identifier: Apache-2.0 */
#include "record.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>

#include "request.h"
#include "scope.h"
#include "trust.h"

enum { LOCK_POLL = 2 }; /* milliseconds */

/* The last component is ours to make; what leads to it is the administrator's. */
int record_open_state(const char *state, int make, struct socker_error *err)
{
	if (make && mkdir(state, 0700) < 0 && errno != EEXIST)
		return socker_fail(err, "%s: %m", state);
	return trust_open_dir(state, err);
}

int record_open_dir(const char *state, const char *node, uint32_t job, int make, struct socker_error *err)
{
	char name[16];
	autofd top = record_open_state(state, make, err);
	autofd nodes = top < 0 ? -1 : trust_open_dir_at(top, node, make, err);

	if (nodes < 0)
		return -1;
	snprintf(name, sizeof(name), "%u", job);
	return trust_open_dir_at(nodes, name, make, err);
}

static double now_seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* Whether the name still leads to what was locked: a closer may have removed it meanwhile. */
static bool is_named(int dir, const char *name, int fd)
{
	struct stat locked;
	struct stat named;

	return fstat(fd, &locked) == 0 && fstatat(dir, name, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
	       locked.st_ino == named.st_ino && locked.st_dev == named.st_dev;
}

int record_lock(int dir, const char *key, unsigned int seconds, int cancel, struct socker_error *err)
{
	char name[32];
	double end = now_seconds() + seconds;

	snprintf(name, sizeof(name), "%s.lock", key);
	for (;;) {
		autofd fd = openat(dir, name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);

		if (fd < 0)
			return socker_fail(err, "%s: %m", name);
		if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
			if (is_named(dir, name, fd))
				return steal_fd(&fd);
			continue;
		}
		if (errno != EWOULDBLOCK && errno != EINTR)
			return socker_fail(err, "%s: %m", name);
		if (now_seconds() > end)
			return socker_fail(err, "another step has been opening the container for %u s; try again later",
					   seconds);
		if (poll(&(struct pollfd){.fd = cancel, .events = POLLIN}, 1, LOCK_POLL) == 1)
			return socker_fail(err, "cancelled");
	}
}

int record_count_keys(int dir)
{
	autoclosedir DIR *list = fdopendir(dup(dir));
	struct dirent *entry;
	int count = 0;

	if (!list)
		return -1;
	rewinddir(list);
	while ((entry = readdir(list)))
		count += strstr(entry->d_name, ".lock") != NULL;
	return count;
}

static bool record_is_whole(const struct socker_record *record)
{
	return record->magic == RECORD_MAGIC && record->size == sizeof(*record) &&
	       record->text_size <= RECORD_TEXT_SIZE && record->cgroup_count <= RECORD_CGROUPS_MAX &&
	       record->place_count <= RECORD_PLACES_MAX && record->env_count <= SOCKER_ENV_MAX &&
	       record->entry_count <= SOCKER_ENTRY_MAX && record->unset_count <= SOCKER_UNSET_MAX &&
	       record->filter_count <= RECORD_FILTERS_MAX && record->text[RECORD_TEXT_SIZE - 1] == '\0';
}

const struct socker_record *record_map(int dir, const char *key)
{
	struct stat status;
	void *memory;
	autofd fd = openat(dir, key, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0 || fstat(fd, &status) < 0 || !S_ISREG(status.st_mode) || status.st_uid != 0 ||
	    (status.st_mode & 077) || status.st_size != sizeof(struct socker_record))
		return NULL;
	memory = mmap(NULL, sizeof(struct socker_record), PROT_READ, MAP_SHARED, fd, 0);
	if (memory == MAP_FAILED)
		return NULL;
	if (!record_is_whole(memory)) {
		munmap(memory, sizeof(struct socker_record));
		return NULL;
	}
	return memory;
}

void record_unmap(const struct socker_record *record)
{
	if (record)
		munmap((void *)record, sizeof(*record));
}

int record_write(int dir, const char *key, const struct socker_record *record, struct socker_error *err)
{
	char name[32];
	autofd fd = -1;

	snprintf(name, sizeof(name), "%s.new", key);
	if (unlinkat(dir, name, 0) < 0 && errno != ENOENT)
		return socker_fail(err, "record %s: %m", name);
	fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0 || fchmod(fd, 0600) < 0)
		return socker_fail(err, "record %s: %m", name);
	if (write(fd, record, sizeof(*record)) != (ssize_t)sizeof(*record))
		return socker_fail(err, "record %s: not written whole: %m", name);
	if (renameat(dir, name, dir, key) < 0)
		return socker_fail(err, "record %s: %m", key);
	return 0;
}

uint32_t record_add_text(struct socker_record *record, const char *text)
{
	size_t length = strlen(text) + 1;
	uint32_t offset = record->text_size ? record->text_size : 1;

	if (length > RECORD_TEXT_SIZE - 1 - offset)
		return 0;
	memcpy(record->text + offset, text, length);
	record->text_size = offset + (uint32_t)length;
	return offset;
}

const struct record_place *record_place_of(const struct socker_record *record, const char *path)
{
	const struct record_place *best = NULL;
	size_t best_length = 0;

	for (uint32_t i = 0; i < record->place_count; i++) {
		const char *place = record->text + record->places[i].path;

		if (path_below(path, place) && strlen(place) >= best_length) {
			best = &record->places[i];
			best_length = strlen(place);
		}
	}
	/* what was put in the path's own place stays there; below it the host's is missing */
	return best && best->other && strlen(path) != best_length ? NULL : best;
}
