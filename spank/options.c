/* SPDX-License-Identifier: Apache-2.0 */
#include "options.h"

#include <slurm/slurm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "scope.h"

static const char variable[] = "SLURM_SOCKER_OPTIONS";

/* What is said once, whichever of its options says it; the order of the lines. */
enum slot {
	SLOT_IMAGE,
	SLOT_DEVICE,
	SLOT_ENTRYPOINT,
	SLOT_ENV,
	SLOT_GPUS,
	SLOT_HOME,
	SLOT_MOUNTS,
	SLOT_NAME,
	SLOT_ROOT,
	SLOT_SAVE,
	SLOT_UNSHARE,
	SLOT_WORKDIR,
	SLOTS,
};

static const char *const slot_names[SLOTS] = {
	"image", "device", "entrypoint", "env", "gpus", "home", "mounts", "name", "root", "save", "unshare", "workdir",
};

/* An option without an argument says yes; its variable may say no as well. */
static const struct option_entry {
	const char *format; /* %s: "container", or the plugstack line's option_prefix= */
	const char *argument;
	const char *usage;
	enum slot slot;
	const char *yes;
	const char *no;
	const char *environment; /* SOCKER_CONTAINER_..., or NULL */
} table[] = {
#if SLURM_VERSION_NUMBER < SLURM_VERSION_NUM(21, 8, 0)
	/* not yet one of Slurm's own, which would refuse another of its name */
	{"container", "IMAGE", "run in a container of this image", SLOT_IMAGE, NULL, NULL, "IMAGE"},
#endif
	{"%s-image", "REF", "the same as --container", SLOT_IMAGE, NULL, NULL, "IMAGE"},
	{"%s-mounts", "SRC:DST[:FLAGS][,...]", "paths of the host in the container; tmpfs:DST for an empty one",
	 SLOT_MOUNTS, NULL, NULL, "MOUNTS"},
	{"%s-mount-home", NULL, "mount the home directory", SLOT_HOME, "yes", "no", "MOUNT_HOME"},
	{"no-%s-mount-home", NULL, "do not mount the home directory", SLOT_HOME, "no", NULL, NULL},
	{"%s-workdir", "PATH", "working directory in the container", SLOT_WORKDIR, NULL, NULL, "WORKDIR"},
	{"%s-env", "NAME[,NAME...]", "variables of the job that win over the image's", SLOT_ENV, NULL, NULL, "ENV"},
	{"%s-name", "NAME[:create|exec|auto]", "share the container of this name with the job's other steps", SLOT_NAME,
	 NULL, NULL, "NAME"},
	{"%s-save", "REF", "save the container as a local image when the step has ended", SLOT_SAVE, NULL, NULL,
	 "SAVE"},
	{"%s-writable", NULL, "a root that can be written", SLOT_ROOT, "rw", "ro", "WRITABLE"},
	{"%s-readonly", NULL, "a root that cannot be written", SLOT_ROOT, "ro", "rw", "READONLY"},
	{"%s-entrypoint", NULL, "run the image's ENTRYPOINT", SLOT_ENTRYPOINT, "yes", "no", "ENTRYPOINT"},
	{"no-%s-entrypoint", NULL, "do not run the image's ENTRYPOINT", SLOT_ENTRYPOINT, "no", NULL, NULL},
	{"%s-unshare", "net,ipc,uts", "namespaces of the container's own", SLOT_UNSHARE, NULL, NULL, "UNSHARE"},
	{"%s-gpus", NULL, "the GPUs that Slurm gave the job", SLOT_GPUS, "yes", "no", "GPUS"},
	{"%s-device", "NAME[,NAME...]", "devices that the node's policy names", SLOT_DEVICE, NULL, NULL, "DEVICE"},
};
enum { ENTRIES = sizeof(table) / sizeof(table[0]) };

/* The client's: what was given, by slot. Slurm keeps the last of an option that is given twice, and so does this. */
static struct {
	char *values[SLOTS];
	bool by_default[SLOTS]; /* from the environment */
	char prefix[32];
	bool failed;
} given = {.prefix = "container"};

static void option_name(const struct option_entry *entry, char *name, size_t size)
{
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	snprintf(name, size, entry->format, given.prefix);
#pragma GCC diagnostic pop
}

/* The name of a slot's option, as it is shown to the user. */
static const char *slot_option(enum slot slot)
{
	static char name[64];

	for (size_t i = 0; i < ENTRIES; i++) {
		if (table[i].slot == slot) {
			option_name(&table[i], name, sizeof(name));
			break;
		}
	}
	return name;
}

static void give(enum slot slot, const char *value)
{
	free(given.values[slot]);
	given.values[slot] = strdup(value ? value : "");
	given.failed |= !given.values[slot];
}

/* Slurm's callback. What slurmstepd is told, it is told by the variable, too. */
static int take_option(int entry, const char *argument, int remote)
{
	if (!remote)
		give(table[entry].slot, table[entry].argument ? argument : table[entry].yes);
	return 0;
}

void options_register(spank_t sp, const struct socker_config *config)
{
	snprintf(given.prefix, sizeof(given.prefix), "%s", config->option_prefix);
	for (int i = 0; i < ENTRIES; i++) {
		char name[64];
		char usage[128];
		struct spank_option option = {
			.name = name,
			.arginfo = (char *)table[i].argument,
			.usage = usage,
			.has_arg = table[i].argument != NULL,
			.val = i,
			.cb = take_option,
		};

		option_name(&table[i], name, sizeof(name));
		snprintf(usage, sizeof(usage), "[socker] %s", table[i].usage);
		spank_option_register(sp, &option);
	}
}

static bool forget_inherited(const char *entry)
{
	static const char *const prefixes[] = {
		"_SLURM_SPANK_OPTION_socker_",
		"SLURM_SPANK__SLURM_SPANK_OPTION_socker_",
	};
	size_t length = strcspn(entry, "=");

	for (size_t i = 0; entry[length] && i < sizeof(prefixes) / sizeof(prefixes[0]); i++) {
		autofree char *name = NULL;

		if (strncmp(entry, prefixes[i], strlen(prefixes[i])) != 0)
			continue;
		name = strndup(entry, length);
		return name && unsetenv(name) == 0;
	}
	return false;
}

/* Slurm gives the options of a salloc to every srun in it, as if they were typed there. */
void options_forget(void)
{
	unsetenv(variable);
	/* the entries behind one that is forgotten move up */
	for (char **entry = environ; entry && *entry;)
		entry += !forget_inherited(*entry);
}

/* A default from the environment; for an option without an argument, yes or no. */
static int take_default(const struct option_entry *entry)
{
	char name[64];
	const char *value;
	const char *word = NULL;

	if (!entry->environment || (given.values[entry->slot] && !given.by_default[entry->slot]))
		return 0;
	snprintf(name, sizeof(name), "SOCKER_CONTAINER_%s", entry->environment);
	value = getenv(name);
	if (!value)
		return 0;
	if (strcmp(value, "1") == 0 || strcmp(value, "yes") == 0)
		word = entry->yes;
	else if (strcmp(value, "0") == 0 || strcmp(value, "no") == 0)
		word = entry->no;
	if (entry->argument)
		word = value;
	if (!word) {
		slurm_error("socker: %s is neither yes nor no: give it one of the two, or unset it", name);
		return -1;
	}
	if (given.by_default[entry->slot] && strcmp(given.values[entry->slot], word) != 0) {
		slurm_error("socker: %s says the contrary of another variable: unset one of them", name);
		return -1;
	}
	given.by_default[entry->slot] = true;
	give(entry->slot, word);
	return 0;
}

static int check_value(enum slot slot, const char *value)
{
	if (!value[0]) {
		slurm_error("socker: --%s: empty; give a value, or leave the option out", slot_option(slot));
		return -1;
	}
	for (const char *at = value; *at; at++) {
		if ((unsigned char)*at < ' ' || *at == 0x7f) {
			slurm_error("socker: --%s: a control character cannot be part of it", slot_option(slot));
			return -1;
		}
	}
	return 0;
}

static int take_image(void)
{
	const char *image = given.values[SLOT_IMAGE];
	const char *container = getenv("SLURM_CONTAINER");

	if (!image)
		return 0;
	if (container && strcmp(container, image) != 0) {
		slurm_error("socker: --container and --%s name different images; give one of them",
			    slot_option(SLOT_IMAGE));
		return -1;
	}
	return check_value(SLOT_IMAGE, image) < 0 ? -1 : setenv("SLURM_CONTAINER", image, 1);
}

static bool any_is_given(void)
{
	for (int slot = 0; slot < SLOTS; slot++) {
		if (given.values[slot])
			return true;
	}
	return false;
}

static int write_lines(char *lines, size_t size)
{
	size_t used = 0;

	lines[0] = '\0';
	for (int slot = 0; slot < SLOTS; slot++) {
		const char *value = given.values[slot];

		if (!value || slot == SLOT_IMAGE)
			continue;
		if (check_value(slot, value) < 0)
			return -1;
		used += (size_t)snprintf(lines + used, size - used, "%s=%s\n", slot_names[slot], value);
		if (used >= size) {
			slurm_error("socker: the --%s-* options are longer than %zu bytes; shorten --%s", given.prefix,
				    size - 1, slot_option(slot));
			return -1;
		}
	}
	return 0;
}

int options_export(void)
{
	char lines[SOCKER_OPTIONS_SIZE];
	bool asked = any_is_given();

	/* an image may be a default; the others are defaults of a step that asks for a container */
	if ((!getenv("SLURM_CONTAINER") && take_default(&table[0]) < 0) || take_image() < 0)
		return -1;
	if (!getenv("SLURM_CONTAINER")) {
		if (!asked)
			return 0;
		slurm_error("socker: --%s-* options were given without --container; add --container=IMAGE",
			    given.prefix);
		return -1;
	}
	for (int i = 1; i < ENTRIES; i++) {
		if (take_default(&table[i]) < 0)
			return -1;
	}
	if (given.failed || write_lines(lines, sizeof(lines)) < 0)
		return -1;
	return lines[0] ? setenv(variable, lines, 1) : 0;
}

static bool is_name(const char *name, size_t length)
{
	return length && strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_") >= length &&
	       (name[0] < '0' || name[0] > '9');
}

static int read_env(const char *value, struct task_options *tasks, struct socker_error *err)
{
	for (const char *name = value; name;) {
		size_t length = strcspn(name, ",");

		if (!is_name(name, length))
			return socker_fail(err, "--%s: not the name of a variable: \"%.*s\"", slot_option(SLOT_ENV),
					   (int)length, name);
		name = name[length] ? name + length + 1 : NULL;
	}
	snprintf(tasks->env, sizeof(tasks->env), "%s", value);
	return 0;
}

static int read_workdir(const char *value, struct task_options *tasks, struct socker_error *err)
{
	if (value[0] != '/')
		return socker_fail(err, "--%s: \"%.200s\" is not an absolute path", slot_option(SLOT_WORKDIR), value);
	if ((size_t)snprintf(tasks->workdir, sizeof(tasks->workdir), "%s", value) >= sizeof(tasks->workdir))
		return socker_fail(err, "--%s: longer than %zu bytes", slot_option(SLOT_WORKDIR),
				   sizeof(tasks->workdir) - 1);
	return 0;
}

static int read_name(const char *value, struct socker_request *request, struct socker_error *err)
{
	static const struct {
		const char *word;
		uint32_t share;
	} modes[] = {
		{"", SOCKER_SHARE_AUTO},
		{":auto", SOCKER_SHARE_AUTO},
		{":create", SOCKER_SHARE_CREATE},
		{":exec", SOCKER_SHARE_EXEC},
	};
	size_t length = strspn(value, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-");

	memset(request->shared, 0, sizeof(request->shared));
	request->share = SOCKER_SHARE_NONE;
	if (length == 0 || length >= sizeof(request->shared))
		return socker_fail(err, "--%s: \"%.200s\" does not begin with 1 to %zu letters, digits, . _ or -",
				   slot_option(SLOT_NAME), value, sizeof(request->shared) - 1);
	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		if (strcmp(value + length, modes[i].word) == 0)
			request->share = modes[i].share;
	}
	if (request->share == SOCKER_SHARE_NONE)
		return socker_fail(err,
				   "--%s: \"%.200s\": a name has letters, digits, . _ and -, and behind it may stand "
				   ":create, :exec or :auto",
				   slot_option(SLOT_NAME), value);
	memcpy(request->shared, value, length);
	return 0;
}

static int read_entrypoint(const char *value, struct task_options *tasks, struct socker_error *err)
{
	tasks->entrypoint = strcmp(value, "yes") == 0;
	if (!tasks->entrypoint && strcmp(value, "no") != 0)
		return socker_fail(err, "--%s: \"%.200s\" is neither yes nor no", slot_option(SLOT_ENTRYPOINT), value);
	return 0;
}

static int read_line(const char *line, struct socker_request *request, struct task_options *tasks,
		     struct socker_error *err)
{
	const char *value = strchr(line, '=');
	size_t length = value ? (size_t)(value - line) : 0;
	size_t used = strlen(request->options);
	int slot = 0;

	while (slot < SLOTS && (strncmp(line, slot_names[slot], length) != 0 || slot_names[slot][length]))
		slot++;
	if (!value || slot == SLOTS || slot == SLOT_IMAGE)
		return socker_fail(err, "%s holds what is no option: \"%.200s\"", variable, line);
	value++;
	switch (slot) {
	case SLOT_ENV:
		return read_env(value, tasks, err);
	case SLOT_WORKDIR:
		return read_workdir(value, tasks, err);
	case SLOT_NAME:
		return read_name(value, request, err);
	case SLOT_ENTRYPOINT:
		return read_entrypoint(value, tasks, err);
	case SLOT_SAVE:
		tasks->save = true;
		/* fall through */
	default:
		snprintf(request->options + used, sizeof(request->options) - used, "%s\n", line);
		return 0;
	}
}

int options_read(spank_t sp, struct socker_request *request, struct task_options *tasks, struct socker_error *err)
{
	char lines[SOCKER_OPTIONS_SIZE];
	spank_err_t got = spank_getenv(sp, variable, lines, sizeof(lines));
	char *rest = lines;
	char *line;

	if (got == ESPANK_ENV_NOEXIST)
		return 0;
	if (got != ESPANK_SUCCESS)
		return socker_fail(err, "%s is unreadable: %s", variable, spank_strerror(got));
	while ((line = strsep(&rest, "\n"))) {
		if (line[0] && read_line(line, request, tasks, err) < 0)
			return -1;
	}
	return 0;
}
