/* SPDX-License-Identifier: Apache-2.0 */
#include "closer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cgroup.h"
#include "container.h"
#include "opener.h"
#include "policychild.h"
#include "scope.h"
#include "token.h"
#include "trust.h"

/* Milliseconds for the policy child; Slurm's PrologEpilogTimeout must be longer. */
enum { CLOSE_DEADLINE = 10000, SWEEP_DEADLINE = 60000 };

static struct socker_close *new_question(const struct socker_config *config, const char *node, struct socker_error *err)
{
	struct socker_close *question = calloc(1, sizeof(*question));

	if (!question || getrandom(&question->nonce, sizeof(question->nonce), 0) != (ssize_t)sizeof(question->nonce)) {
		free(question);
		socker_fail(err, "out of memory");
		return NULL;
	}
	question->magic = SOCKER_CLOSE_MAGIC;
	question->size = sizeof(*question);
	question->deadline_ms = CLOSE_DEADLINE;
	snprintf(question->node, sizeof(question->node), "%s", node);
	snprintf(question->docker, sizeof(question->docker), "%s", config->docker);
	snprintf(question->slurm_conf, sizeof(question->slurm_conf), "%s", config->slurm_conf);
	return question;
}

/* Asks the policy child and replaces the question by its answer. */
static int ask(const struct socker_config *config, struct socker_close *question, const char *verb,
	       struct socker_error *err)
{
	autofree struct socker_close *answer = calloc(1, sizeof(*answer));

	if (!answer)
		return socker_fail(err, "out of memory");
	if (token_read(config->token, question->token, err) < 0 ||
	    policychild_ask(opener_libdir, config->user, verb, question, sizeof(*question), answer, sizeof(*answer),
			    question->deadline_ms, -1, err) < 0)
		return -1;
	if (answer->magic != SOCKER_CLOSE_MAGIC || answer->size != sizeof(*answer) ||
	    answer->nonce != question->nonce || answer->count != question->count)
		return socker_fail(err, "the policy engine gave no answer to this question");
	/* root goes on with what it asked, not with what comes back beside the verdicts */
	for (uint32_t i = 0; i < question->count; i++)
		question->items[i].keep = answer->items[i].keep;
	memcpy(question->message, answer->message, sizeof(question->message));
	question->message[sizeof(question->message) - 1] = '\0';
	return 0;
}

static void add_item(struct socker_close *question, const struct socker_record *record)
{
	struct socker_close_item *item = &question->items[question->count++];

	item->job = record->request.job;
	memcpy(item->name, record->request.name, sizeof(item->name));
	memcpy(item->id, record->id, sizeof(item->id));
}

static void remove_files(int dir, const char *key)
{
	/* the lock is the last, since what is locked must be gone before another takes it */
	static const char *const ends[] = {"new", "passwd", "group", "lock"};
	char name[32];

	unlinkat(dir, key, 0);
	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		snprintf(name, sizeof(name), "%s.%s", key, ends[i]);
		unlinkat(dir, name, 0);
	}
}

/* A record that is being closed, and the lock that keeps an opener away from it meanwhile. */
struct closing {
	const struct socker_record *record;
	char key[17];
	int lock; /* -1: the caller's */
};

/* Records that are closed together: Docker is asked once, and shared cgroup directories go when the last is gone. */
struct batch {
	uint32_t count;
	struct closing list[RECORD_KEYS_MAX];
};

static int close_batch(const struct socker_config *config, int dir, const struct batch *batch, struct socker_error *err)
{
	autofree struct socker_close *question = NULL;
	int result = 0;

	if (batch->count == 0)
		return 0;
	question = new_question(config, batch->list[0].record->request.node, err);
	if (!question)
		return -1;
	/* dead before Docker is asked, so that Docker has seen their end when Python is ready to ask */
	for (uint32_t i = 0; i < batch->count; i++) {
		if (batch->list[i].record->hold.pid)
			container_kill(&batch->list[i].record->hold);
		add_item(question, batch->list[i].record);
	}
	if (ask(config, question, "close", err) < 0)
		return -1;
	for (uint32_t i = 0; i < batch->count; i++) {
		if (question->items[i].keep) {
			result = socker_fail(err, "%s", question->message);
			continue;
		}
		cgroup_remove(batch->list[i].record);
		remove_files(dir, batch->list[i].key);
	}
	return result;
}

/* Takes the lock over. */
static void add_record(struct batch *batch, int dir, const char *key, int lock)
{
	struct closing closing = {.record = record_map(dir, key), .lock = lock};

	/* not ours, or of another version: nothing it says can be used; or a step that needs no container */
	if (!closing.record || closing.record->state == RECORD_PLAIN) {
		record_unmap(closing.record);
		remove_files(dir, key);
		scope_close(&closing.lock);
		return;
	}
	snprintf(closing.key, sizeof(closing.key), "%s", key);
	batch->list[batch->count++] = closing;
}

static void forget_records(struct batch *batch)
{
	while (batch->count) {
		struct closing *last = &batch->list[--batch->count];

		record_unmap(last->record);
		scope_close(&last->lock);
	}
}

int closer_close_key(const struct socker_config *config, int dir, const char *key, struct socker_error *err)
{
	struct batch batch = {0};
	int result;

	add_record(&batch, dir, key, -1);
	result = close_batch(config, dir, &batch, err);
	forget_records(&batch);
	return result;
}

static bool is_key(const char *name)
{
	return strlen(name) == 16 && name[strspn(name, "0123456789abcdef")] == '\0';
}

/* The keys that have been looked at: each has several files. */
struct keys {
	uint32_t count;
	char list[RECORD_KEYS_MAX][17];
};

static bool is_new(struct keys *keys, const char *key)
{
	for (uint32_t i = 0; i < keys->count; i++) {
		if (strcmp(keys->list[i], key) == 0)
			return false;
	}
	if (keys->count < RECORD_KEYS_MAX)
		strcpy(keys->list[keys->count++], key);
	return true;
}

/* An opener that is still at work has lost its step by now and ends; its lock is free then. */
static int collect_keys(struct batch *batch, int dir, struct socker_error *err)
{
	autoclosedir DIR *list = fdopendir(dup(dir));
	struct keys keys = {0};
	struct dirent *entry;
	int result = 0;

	if (!list)
		return socker_fail(err, "the job's directory cannot be read: %m");
	rewinddir(list);
	while ((entry = readdir(list)) && batch->count < RECORD_KEYS_MAX) {
		struct socker_error failed = {0};
		autofd lock = -1;
		char key[17];

		snprintf(key, sizeof(key), "%.16s", entry->d_name);
		if (entry->d_name[0] == '.' || !is_key(key) || !is_new(&keys, key))
			continue;
		lock = record_lock(dir, key, 2, -1, &failed);
		/* ENOENT: another has closed the job and removed this directory */
		if (lock < 0 && errno != ENOENT)
			result = socker_fail(err, "%s", failed.text);
		else if (lock < 0)
			break;
		else if (faccessat(dir, key, F_OK, 0) == 0)
			add_record(batch, dir, key, steal_fd(&lock));
		else
			remove_files(dir, key);
	}
	return result;
}

static int close_keys(const struct socker_config *config, int dir, struct socker_error *err)
{
	struct batch batch = {0};
	int result = collect_keys(&batch, dir, err);

	if (close_batch(config, dir, &batch, err) < 0)
		result = -1;
	forget_records(&batch);
	return result;
}

static int remove_job_dir(const struct socker_config *config, const char *node, uint32_t job)
{
	char path[SOCKER_PATH_SIZE];

	if (snprintf(path, sizeof(path), "%s/%s/%u", config->state, node, job) >= (int)sizeof(path))
		return -1;
	/* another sweep may have been faster, or have a lock here and do the same when it goes */
	return rmdir(path) < 0 && errno != ENOENT && errno != ENOTEMPTY ? -1 : 0;
}

int closer_close_job(const struct socker_config *config, const char *node, uint32_t job, struct socker_error *err)
{
	struct socker_error absent = {0};
	autofd dir = record_open_dir(config->state, node, job, 0, &absent);

	if (dir < 0)
		return errno == ENOENT ? 0 : socker_fail(err, "%s", absent.text);
	if (close_keys(config, dir, err) < 0)
		return -1;
	if (remove_job_dir(config, node, job) < 0)
		return socker_fail(err, "the directory of job %u: %m", job);
	return 0;
}

/* Adds an item for each record of the job, or one without a name where it has none. 1 when not all of them fit. */
static int collect_job(struct socker_close *question, int node_dir, const char *name)
{
	struct socker_error ignored = {0};
	autofd dir = trust_open_dir_at(node_dir, name, 0, &ignored);
	autoclosedir DIR *list = dir < 0 ? NULL : fdopendir(dup(dir));
	uint32_t before = question->count;
	struct dirent *entry;

	while (list && (entry = readdir(list))) {
		const struct socker_record *record;

		if (!is_key(entry->d_name))
			continue;
		if (question->count == SOCKER_CLOSE_MAX)
			return 1;
		record = record_map(dir, entry->d_name);
		if (record)
			add_item(question, record);
		record_unmap(record);
	}
	if (question->count == SOCKER_CLOSE_MAX)
		return 1;
	if (question->count == before)
		question->items[question->count++].job = (uint32_t)strtoul(name, NULL, 10);
	return 0;
}

/* Asks which of the question's jobs live, closes the others, and empties the question. */
static int close_dead(const struct socker_config *config, struct socker_close *question, int dry_run,
		      struct socker_error *err)
{
	int result = 0;

	if (question->count == 0)
		return 0;
	if (ask(config, question, "sweep", err) < 0)
		return -1;
	if (question->message[0])
		result = socker_fail(err, "%s", question->message);
	for (uint32_t i = 0; i < question->count; i++) {
		uint32_t job = question->items[i].job;

		if (question->items[i].keep)
			continue;
		if (!dry_run && closer_close_job(config, question->node, job, err) < 0)
			result = -1;
		else
			printf("%s job %u on %s\n", dry_run ? "would close" : "closed", job, question->node);
	}
	question->count = 0;
	return result;
}

static bool is_job(const struct dirent *entry)
{
	return entry->d_name[0] >= '1' && entry->d_name[0] <= '9';
}

/* Adds what the state directory holds of a node; for the whole state directory this is called for each node. */
static int collect_node(struct socker_close *question, int top, const char *node, struct socker_error *err)
{
	autofd dir = trust_open_dir_at(top, node, 0, err);
	autoclosedir DIR *list = dir < 0 ? NULL : fdopendir(dup(dir));
	struct dirent *entry;
	int partial = 0;

	if (!list)
		return socker_fail(err, "%s: %m", node);
	while (!partial && (entry = readdir(list))) {
		if (is_job(entry))
			partial = collect_job(question, dir, entry->d_name);
	}
	return partial;
}

/* Closes the records of dead jobs; Slurm is asked about as many jobs at once as a question has room for. */
static int sweep_node(const struct socker_config *config, int top, const char *node, int dry_run,
		      struct socker_error *err)
{
	autofree struct socker_close *question = new_question(config, node, err);
	autofd dir = question ? trust_open_dir_at(top, node, 0, err) : -1;
	autoclosedir DIR *list = dir < 0 ? NULL : fdopendir(dup(dir));
	struct dirent *entry;
	int result = 0;

	if (!list)
		return socker_fail(err, "%s: %m", node);
	question->deadline_ms = SWEEP_DEADLINE;
	question->sweep = SOCKER_SWEEP_RECORDED;
	while ((entry = readdir(list))) {
		if (!is_job(entry))
			continue;
		question->items[question->count++].job = (uint32_t)strtoul(entry->d_name, NULL, 10);
		if (question->count == SOCKER_CLOSE_MAX && close_dead(config, question, dry_run, err) < 0)
			result = -1;
	}
	return close_dead(config, question, dry_run, err) < 0 ? -1 : result;
}

static bool is_directory(int dir, const char *name)
{
	struct stat status;

	return fstatat(dir, name, &status, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(status.st_mode);
}

/* Calls sweep_node, or with a question collect_node, for each node of the state directory. 1: the question is full. */
static int for_each_node(const struct socker_config *config, struct socker_close *question, int dry_run,
			 struct socker_error *err)
{
	struct socker_error absent = {0};
	autofd top = trust_open_dir(config->state, &absent);
	autoclosedir DIR *list = top < 0 ? NULL : fdopendir(dup(top));
	struct dirent *entry;
	int result = 0;

	if (!list)
		return errno == ENOENT ? 0 : socker_fail(err, "%s", absent.text);
	while ((entry = readdir(list))) {
		int one;

		/* beside the nodes' directories lie a few files */
		if (entry->d_name[0] == '.' || !is_directory(top, entry->d_name))
			continue;
		one = question ? collect_node(question, top, entry->d_name, err)
			       : sweep_node(config, top, entry->d_name, dry_run, err);
		if (one)
			result = one;
	}
	return result;
}

/*
 * Containers that carry our token and have no record, as after a reboot. They are told by their names, so only where
 * every record there is fits into the question.
 */
static int sweep_unrecorded(const struct socker_config *config, struct socker_error *err)
{
	autofree struct socker_close *question = new_question(config, "", err);

	if (!question || for_each_node(config, question, 0, err) != 0)
		return err->text[0] ? -1 : 0;
	question->deadline_ms = SWEEP_DEADLINE;
	question->sweep = SOCKER_SWEEP_ALL;
	if (ask(config, question, "sweep", err) < 0)
		return -1;
	cgroup_sweep();
	return question->message[0] ? socker_fail(err, "%s", question->message) : 0;
}

int closer_sweep(const struct socker_config *config, int dry_run, struct socker_error *err)
{
	int recorded = for_each_node(config, NULL, dry_run, err);

	if (dry_run)
		return recorded;
	return sweep_unrecorded(config, err) < 0 || recorded < 0 ? -1 : 0;
}
