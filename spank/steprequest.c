/* SPDX-License-Identifier: Apache-2.0 */
#include "steprequest.h"

#include <slurm/slurm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pmix.h"
#include "request.h"

/* slurmstepd's, which has it from slurmd; weak, since it is none of the plugin interface. */
extern slurm_conf_t slurm_conf __attribute__((weak));

static const char variable[] = "SLURM_CONTAINER";

bool steprequest_wanted(spank_t sp)
{
	char value[8];
	spank_err_t got = spank_getenv(sp, variable, value, sizeof(value));

	return got != ESPANK_ENV_NOEXIST;
}

static int read_reference(spank_t sp, struct socker_request *request, struct socker_error *err)
{
	spank_err_t got = spank_getenv(sp, variable, request->reference, sizeof(request->reference));

	if (got == ESPANK_NOSPACE)
		return socker_fail(err, "--container: the image reference is longer than %d bytes",
				   SOCKER_REFERENCE_SIZE - 1);
	if (got != ESPANK_SUCCESS)
		return socker_fail(err, "--container: unreadable: %s", spank_strerror(got));
	if (!request->reference[0])
		return socker_fail(err, "--container: empty; give an image reference such as debian:bookworm");
	return 0;
}

static int read_groups(spank_t sp, struct socker_request *request, struct socker_error *err)
{
	gid_t *groups = NULL;
	int count = 0;

	if (spank_get_item(sp, S_JOB_SUPPLEMENTARY_GIDS, &groups, &count) != ESPANK_SUCCESS || count < 0)
		return socker_fail(err, "Slurm does not tell the job's groups");
	if (count > SOCKER_GROUPS_MAX)
		return socker_fail(err, "the user is in %d groups; at most %d can be kept in a container", count,
				   SOCKER_GROUPS_MAX);
	for (int i = 0; i < count; i++)
		request->groups[i] = groups[i];
	request->group_count = (uint32_t)count;
	return 0;
}

/* The batch script lies in slurmd's spool, which the container does not have. */
static int read_script(spank_t sp, struct socker_request *request, struct socker_error *err)
{
	char **argv = NULL;
	int argc = 0;

	if (request->step != SLURM_BATCH_SCRIPT)
		return 0;
	if (spank_get_item(sp, S_JOB_ARGV, &argc, &argv) != ESPANK_SUCCESS || argc < 1 ||
	    strlen(argv[0]) >= sizeof(request->script))
		return socker_fail(err, "Slurm does not tell where the batch script is");
	strcpy(request->script, argv[0]);
	return 0;
}

/* Each node would save a container of its own under the name. */
static int check_save(spank_t sp, const struct socker_request *request, const struct task_options *tasks,
		      struct socker_error *err)
{
	uint32_t nodes = 0;

	/* Slurm gives a batch step no number of nodes; it is on one */
	if (!tasks->save || request->step == SLURM_BATCH_SCRIPT)
		return 0;
	if (spank_get_item(sp, S_JOB_NNODES, &nodes) != ESPANK_SUCCESS)
		return socker_fail(err, "Slurm does not tell on how many nodes this step runs");
	if (nodes != 1)
		return socker_fail(err,
				   "--container-save: this step runs on %u nodes, and one container is saved; run it "
				   "with --nodes=1",
				   nodes);
	return 0;
}

/* It runs after the join, so the container must have it at its path; without it, Slurm ends the task. */
static int read_prolog(struct socker_request *request, struct socker_error *err)
{
	const char *prolog = &slurm_conf ? slurm_conf.task_prolog : NULL;

	if (!prolog)
		return 0;
	if (strlen(prolog) >= sizeof(request->prolog))
		return socker_fail(err, "the path of Slurm's TaskProlog is too long");
	strcpy(request->prolog, prolog);
	return 0;
}

int steprequest_read(spank_t sp, bool wanted, struct socker_request *request, struct task_options *tasks,
		     struct socker_error *err)
{
	const char *node = getenv("SLURMD_NODENAME"); /* slurmstepd sets it for itself, before any hook */
	const char *conf = getenv("SLURM_CONF");      /* slurmd's, where its file is not at the default place */
	uid_t uid = 0;
	gid_t gid = 0;

	request_init(request);
	if (spank_get_item(sp, S_JOB_ID, &request->job) != ESPANK_SUCCESS ||
	    spank_get_item(sp, S_JOB_STEPID, &request->step) != ESPANK_SUCCESS ||
	    spank_get_item(sp, S_JOB_UID, &uid) != ESPANK_SUCCESS ||
	    spank_get_item(sp, S_JOB_GID, &gid) != ESPANK_SUCCESS)
		return socker_fail(err, "Slurm does not tell whose job this is");
	request->uid = uid;
	request->gid = gid;
	snprintf(request->node, sizeof(request->node), "%s", node ? node : "");
	snprintf(request->slurm_conf, sizeof(request->slurm_conf), "%s", conf ? conf : "");
	/* a directory that was removed, or whose path is too long, is none: the image's is used */
	if (!getcwd(request->cwd, sizeof(request->cwd)) || request->cwd[0] != '/')
		request->cwd[0] = '\0';
	memset(tasks, 0, sizeof(*tasks));
	if (read_groups(sp, request, err) < 0 ||
	    (wanted && (read_reference(sp, request, err) < 0 || options_read(sp, request, tasks, err) < 0 ||
			check_save(sp, request, tasks, err) < 0)) ||
	    read_script(sp, request, err) < 0 || read_prolog(request, err) < 0)
		return -1;
	pmix_read_spool(request);
	return request_check(request, err);
}
