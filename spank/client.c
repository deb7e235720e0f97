/* SPDX-License-Identifier: Apache-2.0 */
#include "client.h"

#include <slurm/spank.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "scope.h"

/*
 * getopt takes any unique beginning of a long option. Words of the script are looked at, too: where they end the
 * options cannot be told without Slurm's table of options.
 */
static int has_export_file(void)
{
	autofclose FILE *words = fopen("/proc/self/cmdline", "re");
	autofree char *word = NULL;
	size_t size = 0;

	while (words && getdelim(&word, &size, '\0', words) > 0) {
		if (strncmp(word, "--export-", 9) == 0 && strncmp(word + 9, "file", strcspn(word + 9, "=")) == 0)
			return 1;
	}
	return 0;
}

int client_check(void)
{
	if (!getenv("SLURM_CONTAINER") || !has_export_file())
		return 0;
	slurm_error(
		"socker: --container does not work together with --export-file, which sends no variable of Slurm's; "
		"use --export=NAME=VALUE,...");
	return -1;
}
