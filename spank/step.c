/* SPDX-License-Identifier: Apache-2.0 */
#include "step.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "config.h"
#include "jobspace.h"
#include "join.h"
#include "launch.h"
#include "place.h"
#include "pmix.h"
#include "request.h"
#include "saver.h"
#include "saving.h"
#include "scope.h"
#include "steprequest.h"

/* Nothing asked, refused, the opener is at work, the record is mapped and the container open. */
enum step_state { STEP_PLAIN, STEP_REFUSED, STEP_OPENING, STEP_READY };

/* slurmstepd serves one step, and each task is a fork of it that changes its own copy. */
static struct step {
	enum step_state state;
	struct socker_error err;
	struct socker_config config;
	struct socker_request *request;
	struct task_options options;
	const struct socker_record *record;
	struct container container;
	struct launch launch;
	struct join join;
	int saving;	/* of a step that saves: the open file of saving.h */
	uint32_t ended; /* tasks */
	int killed;	/* the signal that ended one of them, or 0 */
} step;

enum { EPILOG_MILLISECONDS = 12000, SAYING_MICROSECONDS = 100000 };

/*
 * Root for this thread alone: user_init runs with the user's effective uid, and glibc's seteuid would change it for
 * all threads of slurmstepd.
 */
static uid_t thread_become_root(void)
{
	uid_t before = geteuid();

	if (before != 0)
		syscall(SYS_setresuid, -1, 0, -1);
	return before;
}

static void thread_become(uid_t uid)
{
	if (uid != 0)
		syscall(SYS_setresuid, -1, uid, -1);
}

static void refuse(void)
{
	step.state = STEP_REFUSED;
}

/*
 * Maps the record of the step's request and opens its container: what later steps and all tasks do. 1: it says that the
 * step, which asked for none, needs none.
 */
static int find_container(struct socker_error *err)
{
	char key[17];
	autofd dir = record_open_dir(step.config.state, step.request->node, step.request->job, 0, err);

	if (dir < 0)
		return -1;
	request_key(step.request, key);
	step.record = record_map(dir, key);
	if (step.record && step.record->state == RECORD_PLAIN && !step.request->reference[0])
		return 1;
	if (!step.record || step.record->state != RECORD_OPEN || !request_fits(&step.record->request, step.request) ||
	    !place_covers(step.record, step.request))
		return socker_fail(err, "the container has no record");
	return container_attach(&step.container, &step.record->hold, step.record->flags, err);
}

static void forget_container(void)
{
	record_unmap(step.record);
	step.record = NULL;
	container_release(&step.container);
}

static int start_opener(int count, char *words[])
{
	if (!step.options.save)
		return launch_opener(&step.launch, "open", count, words, step.request, &step.err);
	step.saving = saving_open(step.config.state, &step.err);
	if (step.saving < 0)
		return -1;
	return launch_saving_opener(&step.launch, count, words, step.request, step.saving, &step.err);
}

static void find_or_open(int count, char *words[])
{
	struct socker_error absent = {0};
	uid_t user = thread_become_root();

	/* only the opener can say that a container is there which must not be, or that nobody else saves the image */
	int found = step.request->share == SOCKER_SHARE_CREATE || step.options.save ? -1 : find_container(&absent);

	if (found >= 0) {
		step.state = found ? STEP_PLAIN : STEP_READY;
	} else {
		forget_container();
		step.state = STEP_OPENING;
		if (start_opener(count, words) < 0 || launch_detach(&step.launch, &step.err) < 0)
			refuse();
	}
	thread_become(user);
}

void step_begin(spank_t sp, int count, char *words[])
{
	bool wanted = steprequest_wanted(sp);

	if (!wanted && !config_asks(count, words))
		return;
	step.container = container_none;
	step.request = calloc(1, sizeof(*step.request));
	if (!step.request)
		socker_fail(&step.err, "out of memory");
	if (step.err.text[0] || config_parse(&step.config, count, words, &step.err) < 0 ||
	    steprequest_read(sp, wanted, step.request, &step.options, &step.err) < 0) {
		refuse();
		return;
	}
	find_or_open(count, words);
}

/* Slurm would execute what the image has at the script's path. */
static bool script_is_missing(void)
{
	const struct record_place *place =
		step.request->script[0] ? record_place_of(step.record, step.request->script) : NULL;

	if (place && place->error)
		socker_fail(&step.err, "the batch script %.600s cannot be mounted in the container: %s",
			    step.request->script, strerror(place->error));
	return place && place->error;
}

void step_task_prepare(spank_t sp)
{
	if (step.state == STEP_PLAIN && steprequest_wanted(sp)) {
		socker_fail(&step.err, "a container was asked for, but the step did not begin with one");
		refuse();
	}
	if (step.state == STEP_OPENING) {
		int found;

		jobspace_send(step.launch.space);
		found = launch_wait(&step.launch, &step.err) < 0 ? -1 : find_container(&step.err);

		if (found < 0)
			refuse();
		else
			step.state = found ? STEP_PLAIN : STEP_READY;
	}
	if (step.state == STEP_READY && script_is_missing())
		refuse();
	if (step.state != STEP_READY)
		return;
	step.join = (struct join){
		.record = step.record,
		.request = step.request,
		.options = &step.options,
		.container = &step.container,
		.kept = -1,
	};
	if (join_prepare(&step.join, &step.err) < 0)
		refuse();
}

static bool is_first_task(spank_t sp)
{
	int local = -1;

	return spank_get_item(sp, S_TASK_ID, &local) == ESPANK_SUCCESS && local == 0;
}

/* The one place from which text goes to Slurm's log and, through it, to the user. */
static void say(const char *text, bool failure)
{
	char clean[SOCKER_MESSAGE_SIZE];

	socker_printable(clean, sizeof(clean), text);
	if (failure)
		slurm_error("socker: %s", clean);
	else
		slurm_spank_log("socker: %s", clean);
}

/*
 * Ends the task rather than the hook with -1, to which Slurm adds two generic lines a task; and here rather than in
 * the privileged hook, because slurmstepd still has to put the task into its cgroup then and would fail as a whole.
 */
static void end_refused(spank_t sp)
{
	if (is_first_task(sp))
		say(step.err.text, true);
	_exit(1);
}

/* A directory that was to be mounted and is not: those of the plan, and the step's own. */
static void say_what_is_missing(void)
{
	for (uint32_t i = 0; i < step.record->place_count; i++) {
		const struct record_place *place = &step.record->places[i];
		const char *path = step.record->text + place->path;
		char line[SOCKER_MESSAGE_SIZE];

		if (!place->error || (!place->planned && !path_below(step.request->cwd, path)))
			continue;
		snprintf(line, sizeof(line), "%.900s is not mounted in the container: %s", path,
			 strerror(place->error));
		say(line, false);
	}
}

/* Whether --container-env names it and the job has it. */
static bool is_job_s(spank_t sp, const char *name)
{
	size_t length = strlen(name);
	char value[1];

	for (const char *at = step.options.env; (at = strstr(at, name)); at += length) {
		if ((at == step.options.env || at[-1] == ',') && (at[length] == ',' || !at[length]))
			return spank_getenv(sp, name, value, sizeof(value)) != ESPANK_ENV_NOEXIST;
	}
	return false;
}

static void set_environment(spank_t sp)
{
	for (uint32_t i = 0; i < step.record->env_count; i++) {
		autofree char *name = strdup(step.record->text + step.record->env[i]);
		char *value = name ? strchr(name, '=') : NULL;

		if (!value)
			continue;
		*value++ = '\0';
		if (!is_job_s(sp, name))
			spank_setenv(sp, name, value, 1);
	}
	for (uint32_t i = 0; i < step.record->unset_count; i++)
		spank_unsetenv(sp, step.record->text + step.record->unset[i]);
}

/* The variable may be the user's own; a descriptor that is open on exec is the task's without a container, too. */
static int pmi_socket(spank_t sp)
{
	char value[16];

	return spank_getenv(sp, "PMI_FD", value, sizeof(value)) == ESPANK_SUCCESS ? atoi(value) : -1;
}

/* Slurm's list of words has no room for more, so they travel by variables; see entry.c. */
static int run_entry_point(spank_t sp)
{
	static char program[] = "/.socker/entry";
	char **argv = NULL;
	char text[16];
	int argc = 0;

	if (spank_get_item(sp, S_JOB_ARGV, &argc, &argv) != ESPANK_SUCCESS || argc < 1)
		return socker_fail(&step.err, "Slurm does not tell the command that the ENTRYPOINT gets");
	for (uint32_t i = 0; i < step.record->entry_count; i++) {
		char name[32];

		snprintf(name, sizeof(name), "SOCKER_ENTRY_%u", i);
		spank_setenv(sp, name, step.record->text + step.record->entry[i], 1);
	}
	snprintf(text, sizeof(text), "%u", step.record->entry_count);
	spank_setenv(sp, "SOCKER_ENTRY", text, 1);
	spank_setenv(sp, "SOCKER_ENTRY_COMMAND", argv[0], 1);
	argv[0] = program;
	return 0;
}

void step_task_join(spank_t sp)
{
	if (step.state == STEP_PLAIN)
		return;
	if (step.state != STEP_READY)
		end_refused(sp);
	if (is_first_task(sp))
		say_what_is_missing();
	step.join.kept = pmi_socket(sp);
	if (join_container(&step.join, &step.err) < 0)
		end_refused(sp);
	pmix_make_directory(sp, step.request);
	set_environment(sp);
	if (step.options.entrypoint && step.record->entry_count && run_entry_point(sp) < 0)
		end_refused(sp);
}

static void save_container(int count, char *words[])
{
	int milliseconds = (int)(step.config.save_deadline + SAVER_MARGIN) * 1000;
	struct socker_error err = {0};
	struct launch launch;

	if (step.killed)
		socker_fail(&err, "a task of this step was ended by signal %d", step.killed);
	else if (launch_opener(&launch, "save", count, words, step.request, &err) == 0)
		launch_result(&launch, milliseconds, &err);
	if (err.text[0]) {
		socker_fail_in(&err, "the container is not saved");
		say(err.text, true);
		/* srun takes in nothing more once it hears of a task that a signal ended: this must be there first */
		if (step.killed)
			usleep(SAYING_MICROSECONDS);
	}
	scope_close(&step.saving);
}

void step_task_ended(spank_t sp, int count, char *words[])
{
	uint32_t tasks = 0;
	int status = 0;

	if (!step.options.save || step.state != STEP_OPENING || !launch_granted(&step.launch))
		return;
	if (spank_get_item(sp, S_TASK_EXIT_STATUS, &status) == ESPANK_SUCCESS && WIFSIGNALED(status))
		step.killed = WTERMSIG(status);
	if (spank_get_item(sp, S_JOB_LOCAL_TASK_COUNT, &tasks) == ESPANK_SUCCESS && ++step.ended == tasks)
		save_container(count, words);
}

static int job_has_records(const struct socker_request *request)
{
	char path[SOCKER_PATH_SIZE];

	if (snprintf(path, sizeof(path), "%s/%s/%u", step.config.state, request->node, request->job) >=
	    (int)sizeof(path))
		return 0;
	return access(path, F_OK) == 0;
}

void step_job_end(spank_t sp, int count, char *words[])
{
	const char *node = getenv("SLURMD_NODENAME"); /* slurmd's own word: it builds this environment */
	static struct socker_request request;
	struct launch launch;

	request_init(&request);
	if (config_parse(&step.config, count, words, &step.err) < 0 ||
	    spank_get_item(sp, S_JOB_ID, &request.job) != ESPANK_SUCCESS || !node || !node[0] || strchr(node, '/') ||
	    node[0] == '.') {
		say(step.err.text[0] ? step.err.text : "the epilog does not know its job and node", true);
		return;
	}
	snprintf(request.node, sizeof(request.node), "%s", node);
	if (!job_has_records(&request))
		return;
	if (launch_opener(&launch, "close", count, words, &request, &step.err) < 0 ||
	    launch_finish(&launch, EPILOG_MILLISECONDS, &step.err) < 0)
		say(step.err.text, true);
}
