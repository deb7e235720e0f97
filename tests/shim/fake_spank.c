/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A SPANK that tests script: what an item's value is, which item or variable fails and with which error, what was said.
 * It refuses what the real one refuses (a handle that is none, a task's item outside a task, the environment outside
 * slurmstepd), so that code which asks at the wrong moment fails here too.
 */
#include "shim.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

enum {
	ITEMS = 64,
	VARIABLES = 64,
	MESSAGES = 64,
	OPTIONS = 32,
	WORDS = 8,
	GROUPS = 2 * SOCKER_GROUPS_MAX,
	MAGIC = 0x5350414e
};

struct spank_handle {
	int magic;
};

struct variable {
	char name[128];
	char value[2 * SOCKER_OPTIONS_SIZE];
};

struct message {
	int is_error;
	char text[2048];
};

/* Slurm copies what it is told. */
struct option {
	char name[64];
	char argument[64];
	char usage[128];
	struct spank_option option;
};

static struct fake {
	int context;
	uint32_t values[ITEMS];
	int errors[ITEMS];
	gid_t groups[GROUPS];
	int group_count;
	char words[WORDS][SOCKER_PATH_SIZE + 8];
	char *argv[WORDS + 1];
	int argc;
	struct variable variables[VARIABLES];
	int env_error;
	struct message messages[MESSAGES];
	int message_count;
	struct option options[OPTIONS];
	int option_count;
} * fake;

/* not shared: which task a process is */
static int task = -1;
static struct spank_handle valid = {MAGIC};
static struct spank_handle stale = {0};

void fake_reset(void)
{
	if (!fake)
		fake = mmap(NULL, sizeof(*fake), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (fake == MAP_FAILED)
		abort();
	memset(fake, 0, sizeof(*fake));
	fake->context = S_CTX_REMOTE;
	task = -1;
}

spank_t fake_handle(void)
{
	return &valid;
}

spank_t fake_stale_handle(void)
{
	return &stale;
}

void fake_context(int context)
{
	fake->context = context;
}

void fake_item(int item, uint32_t value)
{
	fake->values[item] = value;
}

void fake_item_error(int item, int error)
{
	fake->errors[item] = error;
}

void fake_task(int local_id)
{
	task = local_id;
}

void fake_groups(const uint32_t *groups, int count)
{
	for (int i = 0; i < count && i < GROUPS; i++)
		fake->groups[i] = groups[i];
	fake->group_count = count;
}

void fake_argv(int count, char *const words[])
{
	fake->argc = count;
	for (int i = 0; i < count && i < WORDS; i++) {
		snprintf(fake->words[i], sizeof(fake->words[i]), "%s", words[i]);
		fake->argv[i] = fake->words[i];
	}
}

const char *fake_argv_word(int index)
{
	return fake->argv[index];
}

static struct variable *find_variable(const char *name)
{
	for (int i = 0; i < VARIABLES; i++) {
		if (strcmp(fake->variables[i].name, name) == 0)
			return &fake->variables[i];
	}
	return NULL;
}

int fake_env(const char *name, const char *value)
{
	struct variable *variable = find_variable(name);

	if (!value) {
		if (variable)
			variable->name[0] = '\0';
		return 0;
	}
	if (!variable)
		variable = find_variable("");
	if (!variable || strlen(name) >= sizeof(variable->name) || strlen(value) >= sizeof(variable->value))
		return -1;
	strcpy(variable->name, name);
	strcpy(variable->value, value);
	return 0;
}

void fake_env_error(int error)
{
	fake->env_error = error;
}

const char *fake_env_value(const char *name)
{
	const struct variable *variable = find_variable(name);

	return variable ? variable->value : NULL;
}

int fake_message_count(void)
{
	return fake->message_count;
}

const char *fake_message(int index)
{
	return fake->messages[index].text;
}

int fake_message_is_error(int index)
{
	return fake->messages[index].is_error;
}

int fake_option_count(void)
{
	return fake->option_count;
}

const char *fake_option_name(int index)
{
	return fake->options[index].name;
}

const char *fake_option_usage(int index)
{
	return fake->options[index].usage;
}

const char *fake_option_argument(int index)
{
	return fake->options[index].option.arginfo;
}

int fake_option_give(const char *name, const char *value)
{
	for (int i = 0; i < fake->option_count; i++) {
		const struct spank_option *option = &fake->options[i].option;

		if (strcmp(option->name, name) == 0)
			return option->has_arg == (value != NULL)
				       ? option->cb(option->val, value, fake->context == S_CTX_REMOTE)
				       : ESPANK_BAD_ARG;
	}
	return ESPANK_ERROR;
}

static void keep_message(int is_error, const char *format, va_list args)
{
	struct message *message = &fake->messages[fake->message_count];

	if (fake->message_count == MESSAGES)
		return;
	message->is_error = is_error;
	vsnprintf(message->text, sizeof(message->text), format, args);
	fake->message_count++;
}

void slurm_error(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	keep_message(1, format, args);
	va_end(args);
}

void slurm_spank_log(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	keep_message(0, format, args);
	va_end(args);
}

spank_context_t spank_context(void)
{
	return (spank_context_t)fake->context;
}

const char *spank_strerror(spank_err_t error)
{
	switch (error) {
	case ESPANK_BAD_ARG:
		return "Bad argument";
	case ESPANK_NOSPACE:
		return "Buffer too small";
	case ESPANK_NOT_REMOTE:
		return "Valid only in remote context";
	case ESPANK_ENV_NOEXIST:
		return "Environment variable doesn't exist";
	default:
		return "Generic error";
	}
}

/* As Slurm's: an epilog knows no more than its job, and only slurmstepd knows tasks. */
static spank_err_t item_check(spank_t spank, spank_item_t item)
{
	if (!spank || spank->magic != MAGIC || (int)item >= ITEMS)
		return ESPANK_BAD_ARG;
	if (fake->errors[item])
		return (spank_err_t)fake->errors[item];
	if (fake->context == S_CTX_JOB_SCRIPT && item != S_JOB_ID && item != S_JOB_UID && item != S_JOB_GID)
		return ESPANK_NOT_AVAIL;
	if (fake->context != S_CTX_REMOTE && fake->context != S_CTX_JOB_SCRIPT)
		return ESPANK_NOT_REMOTE;
	return ESPANK_SUCCESS;
}

spank_err_t spank_get_item(spank_t spank, spank_item_t item, ...)
{
	spank_err_t result = item_check(spank, item);
	va_list args;

	if (result != ESPANK_SUCCESS)
		return result;
	va_start(args, item);
	switch (item) {
	case S_JOB_UID:
	case S_JOB_GID:
	case S_JOB_ID:
	case S_JOB_STEPID:
	case S_JOB_NNODES:
	case S_JOB_LOCAL_TASK_COUNT:
		*va_arg(args, uint32_t *) = fake->values[item];
		break;
	case S_TASK_EXIT_STATUS:
		*va_arg(args, int *) = (int)fake->values[item];
		break;
	case S_TASK_ID:
		*va_arg(args, int *) = task;
		result = task >= 0 ? ESPANK_SUCCESS : ESPANK_NOT_TASK;
		break;
	case S_JOB_ARGV:
		*va_arg(args, int *) = fake->argc;
		*va_arg(args, char ***) = fake->argv;
		break;
	case S_JOB_SUPPLEMENTARY_GIDS:
		*va_arg(args, gid_t **) = fake->groups;
		*va_arg(args, int *) = fake->group_count;
		break;
	default:
		result = ESPANK_BAD_ARG;
	}
	va_end(args);
	return result;
}

spank_err_t spank_option_register(spank_t spank, struct spank_option *option)
{
	struct option *kept = &fake->options[fake->option_count];

	if (!spank || spank->magic != MAGIC || !option->name || !option->usage || (option->has_arg && !option->arginfo))
		return ESPANK_BAD_ARG;
	if (fake->option_count == OPTIONS)
		return ESPANK_NOSPACE;
	kept->option = *option;
	snprintf(kept->name, sizeof(kept->name), "%s", option->name);
	snprintf(kept->usage, sizeof(kept->usage), "%s", option->usage);
	kept->option.name = kept->name;
	kept->option.usage = kept->usage;
	if (option->arginfo) {
		snprintf(kept->argument, sizeof(kept->argument), "%s", option->arginfo);
		kept->option.arginfo = kept->argument;
	}
	fake->option_count++;
	return ESPANK_SUCCESS;
}

static spank_err_t env_check(spank_t spank)
{
	if (!spank || spank->magic != MAGIC)
		return ESPANK_BAD_ARG;
	if (fake->env_error)
		return (spank_err_t)fake->env_error;
	return fake->context == S_CTX_REMOTE ? ESPANK_SUCCESS : ESPANK_NOT_REMOTE;
}

spank_err_t spank_getenv(spank_t spank, const char *name, char *buffer, int size)
{
	spank_err_t result = env_check(spank);
	const char *value;

	if (result != ESPANK_SUCCESS)
		return result;
	if (size < 0)
		return ESPANK_BAD_ARG;
	value = fake_env_value(name);
	if (!value)
		return ESPANK_ENV_NOEXIST;
	return snprintf(buffer, (size_t)size, "%s", value) >= size ? ESPANK_NOSPACE : ESPANK_SUCCESS;
}

spank_err_t spank_setenv(spank_t spank, const char *name, const char *value, int overwrite)
{
	spank_err_t result = env_check(spank);

	if (result != ESPANK_SUCCESS)
		return result;
	if (!name || !value)
		return ESPANK_BAD_ARG;
	if (fake_env_value(name) && !overwrite)
		return ESPANK_ENV_EXISTS;
	return fake_env(name, value) < 0 ? ESPANK_ERROR : ESPANK_SUCCESS;
}

spank_err_t spank_unsetenv(spank_t spank, const char *name)
{
	spank_err_t result = env_check(spank);

	if (result != ESPANK_SUCCESS)
		return result;
	if (!name)
		return ESPANK_BAD_ARG;
	fake_env(name, NULL);
	return ESPANK_SUCCESS;
}
