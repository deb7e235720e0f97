/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The SPANK plugin: Slurm's hooks, each one call. It is not linked against libpython and does nothing in a step
 * without a container but look for one variable. The hooks of slurmstepd always succeed
 * (see step.h).
 *
 * SLURM_CONTAINER is set by srun, sbatch and salloc for their own --container, but only where it is not set: without
 * slurm_spank_init an srun inside a job would take the outer job's image for its own. The srun by which salloc starts
 * its interactive step is not one of that kind: it is the salloc's container that is meant.
 */
#include <slurm/spank.h>
#include <stdlib.h>

#include "client.h"
#include "options.h"
#include "step.h"

#define HOOK __attribute__((visibility("default")))

HOOK extern const char plugin_name[];
HOOK extern const char plugin_type[];
HOOK extern const unsigned int plugin_version;
HOOK extern const unsigned int spank_plugin_version;

SPANK_PLUGIN(socker, 1)

HOOK int slurm_spank_init(spank_t sp, int count, char *words[])
{
	struct socker_config config;
	struct socker_error err = {0};

	if ((spank_context() == S_CTX_LOCAL && !client_is_interactive_step()) || spank_context() == S_CTX_ALLOCATOR) {
		unsetenv("SLURM_CONTAINER");
		options_forget();
	}
	/* a line that cannot be read is slurmstepd's to refuse, where a container is asked for */
	if (config_parse(&config, count, words, &err) == 0)
		options_register(sp, &config);
	return ESPANK_SUCCESS;
}

/* In the clients, after their options: the only hook that may end its process, since nothing is submitted yet. */
HOOK int slurm_spank_init_post_opt(spank_t sp, int count, char *words[])
{
	(void)sp;
	(void)count;
	(void)words;
	if (spank_context() != S_CTX_ALLOCATOR && spank_context() != S_CTX_LOCAL)
		return ESPANK_SUCCESS;
	/* nothing has been asked of Slurm yet; a result of -1 would end the client, too, with two more lines */
	if (options_export() < 0 || (spank_context() == S_CTX_LOCAL ? client_check_components() : client_check()) < 0)
		exit(1);
	return ESPANK_SUCCESS;
}

HOOK int slurm_spank_user_init(spank_t sp, int count, char *words[])
{
	step_begin(sp, count, words);
	return ESPANK_SUCCESS;
}

HOOK int slurm_spank_task_init_privileged(spank_t sp, int count, char *words[])
{
	(void)count;
	(void)words;
	step_task_prepare(sp);
	return ESPANK_SUCCESS;
}

HOOK int slurm_spank_task_init(spank_t sp, int count, char *words[])
{
	(void)count;
	(void)words;
	step_task_join(sp);
	return ESPANK_SUCCESS;
}

HOOK int slurm_spank_task_exit(spank_t sp, int count, char *words[])
{
	step_task_ended(sp, count, words);
	return ESPANK_SUCCESS;
}

HOOK int slurm_spank_job_epilog(spank_t sp, int count, char *words[])
{
	step_job_end(sp, count, words);
	return ESPANK_SUCCESS;
}
