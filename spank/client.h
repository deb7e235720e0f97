/* SPDX-License-Identifier: Apache-2.0 */
/* What the plugin checks in srun, sbatch and salloc, as the submitting user, before anything is submitted. */
#ifndef SOCKER_CLIENT_H
#define SOCKER_CLIENT_H

#include <stdbool.h>

/* Whether this srun is the one by which salloc starts its interactive step (LaunchParameters=use_interactive_step). */
bool client_is_interactive_step(void);

/*
 * -1, after a line to the user, when the command asks for a container in a way that would not reach the node: with
 * --export-file sbatch sends the file's variables only, so SLURM_CONTAINER is lost and the script would run on the
 * host. Seen on the command line; a job_submit plugin covers scripts that say it themselves (slurm/job_submit.lua).
 */
int client_check(void);

/*
 * -1, after a line to the user, when srun is given several components ("srun A : B") and a container: Slurm has one
 * SLURM_CONTAINER for all of them, so a component would run in an image that it did not ask for.
 */
int client_check_components(void);

#endif
