/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The options that srun, sbatch and salloc have beside Slurm's own --container.
 *
 * The client commands put them into one variable, SLURM_SOCKER_OPTIONS, as lines NAME=VALUE in the order of the table
 * in options.c. It travels as SLURM_CONTAINER does: Slurm sends every SLURM_ variable, whatever --export says.
 * Slurm also hands SPANK options to slurmstepd itself, but not to a batch step with --export=NONE.
 */
#ifndef SOCKER_OPTIONS_H
#define SOCKER_OPTIONS_H

#include <slurm/spank.h>
#include <stdbool.h>

#include "config.h"

/* What the tasks of a step do with a container, whoever opened it. */
struct task_options {
	char workdir[SOCKER_PATH_SIZE]; /* empty: the step's own directory */
	char env[SOCKER_OPTIONS_SIZE];	/* names, separated by commas, whose value is the job's */
	bool entrypoint;		/* run the image's ENTRYPOINT */
	bool save;			/* save the container when the last of them has ended */
};

/*
 * slurm_spank_init: registers the options with Slurm in clients and in slurmstepd, which warns of those it does not
 * know. Runs as the user or as root; a failure is Slurm's to say.
 */
void options_register(spank_t sp, const struct socker_config *config);

/* slurm_spank_init in a client, as the user: forgets what an outer job has left in the environment. */
void options_forget(void);

/*
 * slurm_spank_init_post_opt in a client, as the user, when all options are parsed: adds the defaults from
 * SOCKER_CONTAINER_* and sets SLURM_SOCKER_OPTIONS; --container-image becomes SLURM_CONTAINER. -1: a line was said.
 */
int options_export(void);

/*
 * slurm_spank_user_init in slurmstepd: fills the options of the request and of its tasks from the step's environment.
 * What they ask for is the user's own wish; the policy engine decides what of it is granted.
 */
int options_read(spank_t sp, struct socker_request *request, struct task_options *tasks, struct socker_error *err);

#endif
