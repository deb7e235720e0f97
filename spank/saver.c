/* SPDX-License-Identifier: Apache-2.0 */
#include "saver.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <syslog.h>

#include "container.h"
#include "inside.h"
#include "opener.h"
#include "policychild.h"
#include "record.h"
#include "request.h"
#include "scope.h"
#include "source.h"
#include "token.h"

enum { LOCK_SECONDS = 5 };

static int fill(struct socker_save *question, const struct socker_config *config, const struct socker_record *record,
		const struct socker_request *request, struct socker_error *err)
{
	question->magic = SOCKER_SAVE_MAGIC;
	question->size = sizeof(*question);
	question->deadline_ms = config->save_deadline * 1000;
	question->job = request->job;
	question->step = request->step;
	question->uid = request->uid;
	snprintf(question->node, sizeof(question->node), "%s", request->node);
	snprintf(question->docker, sizeof(question->docker), "%s", config->docker);
	memcpy(question->name, record->request.name, sizeof(question->name));
	memcpy(question->id, record->id, sizeof(question->id));
	memcpy(question->base, record->digest, sizeof(question->base));
	snprintf(question->reference, sizeof(question->reference), "%s", record->text + record->save);
	if (getrandom(&question->nonce, sizeof(question->nonce), 0) != (ssize_t)sizeof(question->nonce))
		return socker_fail(err, "no random bytes: %m");
	return token_read(config->token, question->token, err);
}

static int ask(const struct socker_config *config, const struct socker_record *record,
	       const struct socker_request *request, struct socker_error *err)
{
	struct socker_save question = {0};
	struct socker_save answer = {0};
	char message[SOCKER_MESSAGE_SIZE];

	if (fill(&question, config, record, request, err) < 0 ||
	    policychild_ask(opener_libdir, config->user, "save", &question, sizeof(question), &answer, sizeof(answer),
			    question.deadline_ms, -1, err) < 0)
		return -1;
	if (answer.magic != SOCKER_SAVE_MAGIC || answer.size != sizeof(answer) || answer.nonce != question.nonce)
		return socker_fail(err, "the policy engine gave no answer to this question");
	if (answer.saved == SOCKER_GRANT)
		return 0;
	answer.message[sizeof(answer.message) - 1] = '\0';
	socker_printable(message, sizeof(message), answer.message);
	return socker_fail(err, "%s", message[0] ? message : "the policy engine gave no reason");
}

/* For the job's other steps that share the container: what inside_clear took away is there again. */
static void put_back(int mnt, const char *name)
{
	char source[SOCKER_PATH_SIZE];
	char target[32];
	autofd file = -1;
	autofd tree = -1;

	snprintf(source, sizeof(source), "%s/%s", opener_libdir, name);
	snprintf(target, sizeof(target), "/.socker/%s", name);
	file = open(source, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	tree = file < 0 ? -1 : source_clone(file, SOCKER_MOUNT_READONLY | SOCKER_MOUNT_FLAT);
	if (tree < 0 || inside_attach(mnt, tree, target, true, false) != 0)
		syslog(LOG_NOTICE, "%s could not be put back", target);
}

static int save_record(const struct socker_config *config, const struct socker_record *record,
		       const struct socker_request *request, struct socker_error *err)
{
	struct container container;
	int result;

	if (!record || record->state != RECORD_OPEN || !record->save || !request_fits(&record->request, request))
		return socker_fail(err, "the container has no record");
	if (container_attach(&container, &record->hold, record->flags, err) < 0)
		return -1;
	result = inside_clear(container.mnt, err);
	if (result == 0)
		result = ask(config, record, request, err);
	put_back(container.mnt, "hold");
	put_back(container.mnt, "entry");
	container_release(&container);
	return result;
}

int saver_save(const struct socker_config *config, const struct socker_request *request, struct socker_error *err)
{
	const struct socker_record *record;
	char key[17];
	autofd dir = record_open_dir(config->state, request->node, request->job, 0, err);
	autofd lock = -1;
	int result;

	if (dir < 0)
		return -1;
	request_key(request, key);
	lock = record_lock(dir, key, LOCK_SECONDS, -1, err);
	if (lock < 0)
		return -1;
	record = record_map(dir, key);
	result = save_record(config, record, request, err);
	record_unmap(record);
	return result;
}
