/* SPDX-License-Identifier: Apache-2.0 */
#include "client.h"

#include <slurm/spank.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "scope.h"

/* sbatch takes no other file for a script; the words behind it are the script's own. */
static int is_script(const char *path)
{
	struct stat status;
	autofclose FILE *file = stat(path, &status) == 0 && S_ISREG(status.st_mode) ? fopen(path, "re") : NULL;

	return file && fgetc(file) == '#' && fgetc(file) == '!';
}

/* A batch script may give its options in lines of its own. */
static int script_has_export_file(const char *path)
{
	autofclose FILE *script = fopen(path, "re");
	char line[4096];

	while (script && fgets(line, sizeof(line), script)) {
		if (strncmp(line, "#SBATCH", 7) == 0 && strstr(line, "--export-f"))
			return 1;
	}
	return 0;
}

/* getopt takes any unique beginning of a long option. */
static int has_export_file(void)
{
	autofclose FILE *words = fopen("/proc/self/cmdline", "re");
	autofree char *word = NULL;
	size_t size = 0;

	while (words && getdelim(&word, &size, '\0', words) > 0) {
		if (strncmp(word, "--export-", 9) == 0 && strncmp(word + 9, "file", strcspn(word + 9, "=")) == 0)
			return 1;
		if (word[0] != '-' && is_script(word))
			return script_has_export_file(word);
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

/* srun takes any lone colon among its words for the beginning of another component. */
int client_check_components(void)
{
	autofclose FILE *words = fopen("/proc/self/cmdline", "re");
	autofree char *word = NULL;
	size_t size = 0;
	bool container = getenv("SRUN_CONTAINER") || getenv("SLURM_CONTAINER");
	bool components = false;

	while (words && getdelim(&word, &size, '\0', words) > 0) {
		/* --cont may be --contiguous */
		container |= strncmp(word, "--conta", 7) == 0;
		components |= strcmp(word, ":") == 0;
	}
	if (!container || !components)
		return 0;
	slurm_error("socker: --container does not work together with \":\", since Slurm would give every component "
		    "the first one's image; start each component with an srun of its own, or use --multi-prog");
	return -1;
}

bool client_is_interactive_step(void)
{
	autofclose FILE *words = fopen("/proc/self/cmdline", "re");
	autofree char *word = NULL;
	size_t size = 0;
	bool passed = true; /* the program's name, and the image behind --container */

	/* salloc calls: srun --container 'IMAGE' InteractiveStepOptions, which begin with an option of Slurm's own */
	while (words && getdelim(&word, &size, '\0', words) > 0) {
		if (strcmp(word, "--interactive") == 0)
			return true;
		if (!passed && word[0] != '-')
			return false;
		passed = strcmp(word, "--container") == 0;
	}
	return false;
}
