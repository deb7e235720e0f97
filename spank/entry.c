/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What Slurm executes in place of the command when the image's ENTRYPOINT is wanted: it executes the entry point with
 * the command and its arguments behind it. Runs as the user, inside, without a capability; linked statically, since
 * the image may have no libc. step.c says by variables what the words are: Slurm's argument list cannot be made longer.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "wire.h"

/* Takes a variable out of the environment; the string stays. */
static char *take(const char *name)
{
	char *value = getenv(name);

	if (value)
		unsetenv(name);
	return value;
}

/* The words of the entry point and, as the last, the command; returns how many, 0 where one is missing. */
static long take_words(char *words[SOCKER_ENTRY_MAX + 1])
{
	const char *text = take("SOCKER_ENTRY");
	long count = text ? strtol(text, NULL, 10) : 0;

	if (count < 1 || count > SOCKER_ENTRY_MAX)
		return 0;
	for (long i = 0; i < count; i++) {
		char name[32];

		snprintf(name, sizeof(name), "SOCKER_ENTRY_%ld", i);
		words[i] = take(name);
		if (!words[i])
			return 0;
	}
	words[count] = take("SOCKER_ENTRY_COMMAND");
	return words[count] ? count + 1 : 0;
}

int main(int argc, char *argv[])
{
	char **words = calloc(SOCKER_ENTRY_MAX + (size_t)argc + 2, sizeof(*words));
	long count = words ? take_words(words) : 0;
	int cause;

	if (!count) {
		fprintf(stderr, "socker: /.socker/entry is run by --container-entrypoint only\n");
		return 1;
	}
	for (int i = 1; i < argc; i++)
		words[count + i - 1] = argv[i];
	execvp(words[0], words);
	cause = errno;
	fprintf(stderr, "socker: the image's ENTRYPOINT %s cannot be executed: %s\n", words[0], strerror(cause));
	return cause;
}
