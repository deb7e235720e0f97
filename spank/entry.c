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

/* Takes a variable out of the environment; the string stays. */
static char *take(const char *name)
{
	char *value = getenv(name);

	if (value)
		unsetenv(name);
	return value;
}

int main(int argc, char *argv[])
{
	char *count = take("SOCKER_ENTRY");
	char *command = take("SOCKER_ENTRY_COMMAND");
	int entries = count ? atoi(count) : 0;
	char **words = entries > 0 ? calloc((size_t)entries + (size_t)argc + 2, sizeof(*words)) : NULL;

	if (!words || !command) {
		fprintf(stderr, "socker: %s is run by --container-entrypoint only\n", argv[0]);
		return 1;
	}
	for (int i = 0; i < entries; i++) {
		char name[32];

		snprintf(name, sizeof(name), "SOCKER_ENTRY_%d", i);
		words[i] = take(name);
	}
	words[entries] = command;
	for (int i = 1; i < argc; i++)
		words[entries + i] = argv[i];
	execvp(words[0], words);
	fprintf(stderr, "socker: the image's ENTRYPOINT %s cannot be executed: %s\n", words[0], strerror(errno));
	return errno;
}
