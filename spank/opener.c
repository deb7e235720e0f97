/* SPDX-License-Identifier: Apache-2.0 */
#include "opener.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "accounts.h"
#include "breaker.h"
#include "cgroup.h"
#include "closer.h"
#include "inside.h"
#include "jobspace.h"
#include "mounts.h"
#include "outcome.h"
#include "place.h"
#include "plan.h"
#include "policychild.h"
#include "request.h"
#include "saving.h"
#include "scope.h"
#include "seccomp.h"
#include "token.h"
#include "trust.h"

/* What is under way: the step's request, its key, and the record being made. */
struct opening {
	const struct socker_config *config;
	struct socker_request *request;
	struct socker_record *record;
	struct container container;
	char key[17];
	int dir; /* <state>/<node>/<job> */
};

static int find_hold(const struct socker_config *config, struct socker_request *request, struct socker_error *err)
{
	const struct passwd *entry = getpwnam(config->hold_user);
	autofd hold = -1;

	if (!entry)
		return socker_fail(err, "the system user %s does not exist on this node; tell your administrator",
				   config->hold_user);
	if (entry->pw_uid == 0 || entry->pw_gid == 0)
		return socker_fail(err,
				   "the hold process may not run as %s, which is root or of its group; tell your "
				   "administrator",
				   config->hold_user);
	request->hold_uid = entry->pw_uid;
	request->hold_gid = entry->pw_gid;
	if (snprintf(request->hold, sizeof(request->hold), "%s/hold", opener_libdir) >= (int)sizeof(request->hold))
		return socker_fail(err, "%s: path too long", opener_libdir);
	hold = trust_open_file(request->hold, err);
	return hold < 0 ? -1 : 0;
}

static int copy_word(char *to, size_t size, const char *word, const char *what, struct socker_error *err)
{
	if ((size_t)snprintf(to, size, "%s", word) >= size)
		return socker_fail(err, "plugstack line: %s is too long", what);
	return 0;
}

/* Adds to the step's request what the policy child needs and only this node knows. */
static int complete_request(struct opening *opening, struct socker_error *err)
{
	const struct socker_config *config = opening->config;
	struct socker_request *request = opening->request;

	if (copy_word(request->docker, sizeof(request->docker), config->docker, "docker=", err) < 0 ||
	    copy_word(request->policy, sizeof(request->policy), config->policy, "policy=", err) < 0 ||
	    (config->slurm_conf[0] &&
	     copy_word(request->slurm_conf, sizeof(request->slurm_conf), config->slurm_conf, "slurm_conf=", err) < 0) ||
	    find_hold(config, request, err) < 0 || token_read(config->token, request->token, err) < 0)
		return -1;
	if (getrandom(&request->nonce, sizeof(request->nonce), 0) != (ssize_t)sizeof(request->nonce))
		return socker_fail(err, "no random bytes: %m");
	request->deadline_ms = config->deadline * 1000;
	snprintf(request->name, sizeof(request->name), "socker-%.8s-%u-%s", request->token, request->job, opening->key);
	return 0;
}

/* The record exists before Docker is asked, so that nothing Docker makes for us can be lost. */
static int record_intent(struct opening *opening, struct socker_error *err)
{
	struct socker_record *record = opening->record;

	memset(record, 0, sizeof(*record));
	record->magic = RECORD_MAGIC;
	record->size = sizeof(*record);
	record->state = RECORD_INTENT;
	record->request = *opening->request;
	return record_write(opening->dir, opening->key, record, err);
}

/* Keeps the texts of a list; returns how many, which is less than count where the record is full. */
static uint32_t keep_texts(struct socker_record *record, uint32_t *list, const struct socker_plan *plan,
			   const uint32_t *offsets, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		list[i] = record_add_text(record, plan->text + offsets[i]);
		if (!list[i])
			return i;
	}
	return count;
}

static int take_plan(struct socker_record *record, const struct socker_plan *plan, struct socker_error *err)
{
	memcpy(record->id, plan->id, sizeof(record->id));
	memcpy(record->digest, plan->digest, sizeof(record->digest));
	record->flags = plan->flags;
	record->workdir = record_add_text(record, plan->text + plan->workdir);
	record->entry_count = keep_texts(record, record->entry, plan, plan->entry, plan->entry_count);
	record->unset_count = keep_texts(record, record->unset, plan, plan->unset, plan->unset_count);
	record->env_count = keep_texts(record, record->env, plan, plan->env, plan->env_count);
	if (!record->workdir || record->entry_count < plan->entry_count || record->unset_count < plan->unset_count ||
	    record->env_count < plan->env_count)
		return socker_fail(err, "the image's environment is too large");
	if (plan->save && !(record->save = record_add_text(record, plan->text + plan->save)))
		return socker_fail(err, "the record is full");
	return 0;
}

/* The profile that AppArmor put the container in; empty where the kernel has no AppArmor or the container none. */
static int read_label(struct socker_record *record, int pid, struct socker_error *err)
{
	char path[64];
	autofd fd = -1;
	ssize_t size;

	snprintf(path, sizeof(path), "/proc/%d/attr/apparmor/current", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	/* ENOENT: a kernel without AppArmor; EINVAL: one that has not started it */
	size = fd < 0 && errno == ENOENT ? 0 : read(fd, record->label, sizeof(record->label) - 1);
	if (size < 0 && errno != EINVAL)
		return socker_fail(err, "the container's AppArmor profile cannot be read: %m");
	record->label[size > 0 ? size : 0] = '\0';
	record->label[strcspn(record->label, " \n")] = '\0';
	if (strcmp(record->label, "unconfined") == 0)
		record->label[0] = '\0';
	return 0;
}

/* Adds the places this step needs to a container that is open. */
static int attach_places(struct opening *opening, struct mounts *mounts, struct socker_error *err)
{
	const struct socker_request *request = opening->request;

	if (place_misses_cwd(opening->record, request) &&
	    mounts_add(mounts, request, request->cwd, 0, request->cwd, 0, err) < 0)
		return -1;
	if (place_misses_script(opening->record, request) &&
	    mounts_add(mounts, request, request->script, 0, request->script, 0, err) < 0)
		return -1;
	if (place_misses_spool(opening->record, request) &&
	    mounts_add(mounts, request, request->spool, 0, request->spool, SOCKER_MOUNT_FLAT, err) < 0)
		return -1;
	if (place_misses_prolog(opening->record, request) &&
	    mounts_add(mounts, request, request->prolog, 0, request->prolog, SOCKER_MOUNT_ASKED | SOCKER_MOUNT_READONLY,
		       err) < 0)
		return socker_fail_in(err, "Slurm's TaskProlog");
	return mounts_attach(mounts, &opening->container, opening->record, false, err);
}

static int attach_plan(struct opening *opening, const struct socker_plan *plan, struct mounts *mounts,
		       struct socker_error *err)
{
	int failed = 0;

	for (uint32_t i = 0; i < plan->mount_count && !failed; i++)
		failed = mounts_add(mounts, opening->request, plan->text + plan->mounts[i].source, plan->mounts[i].base,
				    plan->text + plan->mounts[i].target, plan->mounts[i].flags, err);
	if (!failed)
		failed = mounts_attach(mounts, &opening->container, opening->record, true, err);
	mounts_release(mounts);
	return failed ? -1 : attach_places(opening, mounts, err);
}

/* What is mounted is what lies there for the job. plan is NULL where only the step's own places are added. */
static int attach_for_job(struct opening *opening, const struct socker_plan *plan, struct socker_error *err)
{
	autofree struct mounts *mounts = calloc(1, sizeof(*mounts));
	int milliseconds = (int)opening->config->deadline * 1000;
	autofd home = -1;
	int failed;

	if (!mounts)
		return socker_fail(err, "out of memory");
	if (jobspace_enter(OPENER_SPACE, OPENER_CANCEL, milliseconds, &home, err) < 0)
		return -1;
	failed = plan ? attach_plan(opening, plan, mounts, err) : attach_places(opening, mounts, err);
	mounts_release(mounts);
	return jobspace_leave(&home, err) < 0 ? -1 : failed;
}

/* From now on nobody else's, for as long as the step's slurmstepd lives. */
static int lock_image(const struct opening *opening, struct socker_error *err)
{
	const struct socker_record *record = opening->record;

	return record->save && request_saves(opening->request)
		       ? saving_lock(OPENER_SAVING, opening->config->state, record->text + record->save, err)
		       : 0;
}

/* From a started container to one that tasks may join. The order matters: nothing joins before the record says OPEN. */
static int make_ready(struct opening *opening, const struct socker_plan *plan, struct socker_error *err)
{
	const struct socker_request *request = opening->request;
	struct socker_record *record = opening->record;

	if (take_plan(record, plan, err) < 0 || lock_image(opening, err) < 0 ||
	    container_identify(&record->hold, plan->hold_pid, request->hold, request->hold_uid, request->hold_gid,
			       err) < 0 ||
	    container_attach(&opening->container, &record->hold, record->flags, err) < 0 ||
	    cgroup_place(record, record->hold.pid, err) < 0 ||
	    mounts_harden(&opening->container, record->hold.pid, err) < 0 || attach_for_job(opening, plan, err) < 0 ||
	    accounts_attach(&opening->container, opening->dir, opening->key, plan->text + plan->passwd,
			    plan->text + plan->group, err) < 0 ||
	    ((plan->flags & SOCKER_PLAN_READONLY) && inside_protect(opening->container.mnt, err) < 0) ||
	    seccomp_copy(record, record->hold.pid, err) < 0 || read_label(record, record->hold.pid, err) < 0)
		return -1;
	container_protect(&record->hold);
	seccomp_condense(record, opening->config->state);
	/* it lived until here, so its pid was no other's in between */
	if (container_lives(&opening->container, err) < 0)
		return -1;
	record->state = RECORD_OPEN;
	return record_write(opening->dir, opening->key, record, err);
}

static int record_plain(struct opening *opening, struct socker_error *err)
{
	opening->record->state = RECORD_PLAIN;
	return record_write(opening->dir, opening->key, opening->record, err);
}

static int open_fresh(struct opening *opening, struct socker_error *err)
{
	autofree struct socker_plan *plan = calloc(1, sizeof(*plan));
	const struct socker_request *request = opening->request;
	struct socker_error ignored = {0};

	if (!plan)
		return socker_fail(err, "out of memory");
	/* a step that asked for no container hardly ever needs Docker */
	if ((request->reference[0] && breaker_allows(opening->config->state, request->node, err) < 0) ||
	    record_intent(opening, err) < 0)
		return -1;
	errno = 0;
	if (policychild_ask(opener_libdir, opening->config->user, "open", request, sizeof(*request), plan,
			    sizeof(*plan), request->deadline_ms, OPENER_CANCEL, err) < 0) {
		/* a cancelled one was not waited for to the end */
		if (errno != ECANCELED)
			breaker_note(opening->config->state, request->node, errno == ETIMEDOUT);
		return -1;
	}
	if (plan->verdict != SOCKER_PLAIN)
		breaker_note(opening->config->state, request->node, plan->flags & SOCKER_PLAN_SILENT);
	if (plan_check(plan, request, err) == 0) {
		if (plan->verdict == SOCKER_PLAIN)
			return record_plain(opening, err);
		if (make_ready(opening, plan, err) == 0)
			return 0;
	}
	/* what may have been made stays on record for the epilog; what failed after the grant is taken back at once */
	if (plan->verdict != SOCKER_GRANT && !(plan->flags & SOCKER_PLAN_LEFT))
		unlinkat(opening->dir, opening->key, 0);
	if (plan->verdict == SOCKER_GRANT && record_write(opening->dir, opening->key, opening->record, &ignored) == 0)
		closer_close_key(opening->config, opening->dir, opening->key, &ignored);
	return -1;
}

/* A record of this request whose container lives: only what the step's own directory needs is added. */
static int open_again(struct opening *opening, struct socker_error *err)
{
	return attach_for_job(opening, NULL, err) < 0 ? -1
						      : record_write(opening->dir, opening->key, opening->record, err);
}

/* Steps that name one container share it, so it must be one that each of them could have asked for. */
static int refuse_other(const struct socker_request *theirs, const struct socker_request *ours,
			struct socker_error *err)
{
	if (!ours->shared[0] || !request_shares(theirs, ours))
		return socker_fail(err, "two requests of this job have the same key; start one of them in another job");
	if (strcmp(theirs->reference, ours->reference) != 0)
		return socker_fail(err, "the job's container %s is of the image %.200s; use another name for %.200s",
				   ours->shared, theirs->reference, ours->reference);
	return socker_fail(err, "the job's container %s was opened with other options; give the same, or another name",
			   ours->shared);
}

/* Copies the record when its container is open and belongs to this request. 1: it does, 0: there is none. */
static int find_open(struct opening *opening, struct socker_error *err)
{
	const struct socker_record *record = record_map(opening->dir, opening->key);
	struct socker_error gone = {0};
	int found = 0;

	if (!record)
		return 0;
	if (!request_fits(&record->request, opening->request))
		found = refuse_other(&record->request, opening->request, err);
	else if (record->state == RECORD_PLAIN)
		found = 1;
	else if (record->state == RECORD_OPEN &&
		 container_attach(&opening->container, &record->hold, record->flags, &gone) == 0)
		found = 1;
	memcpy(opening->record, record, sizeof(*record));
	record_unmap(record);
	return found;
}

static int open_locked(struct opening *opening, struct socker_error *err)
{
	int found = find_open(opening, err);

	if (found < 0)
		return -1;
	if (found && opening->request->share == SOCKER_SHARE_CREATE)
		return socker_fail(err, "the job has a container %s already, and :create wants a new one",
				   opening->request->shared);
	if (!found && opening->request->share == SOCKER_SHARE_EXEC)
		return socker_fail(err, "the job has no container %s on node %s yet, and :exec opens none",
				   opening->request->shared, opening->request->node);
	if (found && opening->record->state != RECORD_PLAIN && lock_image(opening, err) < 0)
		return -1;
	if (found)
		return opening->record->state == RECORD_PLAIN || place_covers(opening->record, opening->request)
			       ? 0
			       : open_again(opening, err);
	return open_fresh(opening, err);
}

int opener_open(const struct socker_config *config, struct socker_request *request, struct socker_error *err)
{
	autofree struct socker_record *record = calloc(1, sizeof(*record));
	struct opening opening = {
		.config = config,
		.request = request,
		.record = record,
		.container = container_none,
	};
	autofd dir = -1;
	autofd lock = -1;
	int result;

	if (!record)
		return socker_fail(err, "out of memory");
	request_key(request, opening.key);
	dir = record_open_dir(config->state, request->node, request->job, 1, err);
	if (dir < 0)
		return -1;
	opening.dir = dir;
	if (record_count_keys(dir) >= RECORD_KEYS_MAX && faccessat(dir, opening.key, F_OK, 0) < 0)
		return socker_fail(err,
				   "the job has asked for %d different containers on node %s, which is the most; use "
				   "another job",
				   RECORD_KEYS_MAX, request->node);
	lock = record_lock(dir, opening.key, config->deadline, OPENER_CANCEL, err);
	if (lock < 0 || complete_request(&opening, err) < 0)
		return -1;
	result = open_locked(&opening, err);
	container_release(&opening.container);
	return result;
}
