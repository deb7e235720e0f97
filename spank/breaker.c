/* SPDX-License-Identifier: Apache-2.0 */
#include "breaker.h"

#include <fcntl.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "scope.h"

struct silence {
	uint32_t count;
	int64_t last; /* seconds since boot */
};

static int64_t seconds_since_boot(void)
{
	struct timespec now = {0};

	clock_gettime(CLOCK_BOOTTIME, &now);
	return now.tv_sec;
}

static int silence_path(char *path, size_t size, const char *state, const char *node)
{
	return snprintf(path, size, "%s/%s/silence", state, node) < (int)size ? 0 : -1;
}

static struct silence read_silence(const char *path)
{
	struct silence silence = {0};
	autofd file = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);

	if (file < 0 || read(file, &silence, sizeof(silence)) != (ssize_t)sizeof(silence))
		return (struct silence){0};
	return silence;
}

int breaker_allows(const char *state, const char *node, struct socker_error *err)
{
	char path[SOCKER_PATH_SIZE];
	struct silence silence = {0};
	int64_t left;

	if (silence_path(path, sizeof(path), state, node) == 0)
		silence = read_silence(path);
	left = silence.last + BREAKER_SECONDS - seconds_since_boot();
	if (silence.count < BREAKER_TIMES || left <= 0 || left > BREAKER_SECONDS)
		return 0;
	return socker_fail(err,
			   "Docker on node %s did not answer the last %u times; it is asked again in %d s, try then or "
			   "on another node",
			   node, silence.count, (int)left);
}

void breaker_note(const char *state, const char *node, bool silent)
{
	char path[SOCKER_PATH_SIZE];
	struct silence silence;
	autofd file = -1;

	if (silence_path(path, sizeof(path), state, node) < 0)
		return;
	if (!silent) {
		unlink(path);
		return;
	}
	silence = (struct silence){.count = read_silence(path).count + 1, .last = seconds_since_boot()};
	file = open(path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (file < 0 || pwrite(file, &silence, sizeof(silence), 0) != (ssize_t)sizeof(silence))
		unlink(path);
}
