/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One step in slurmstepd, and each of its tasks: what the hooks do. A step that asked for a container and does not get
 * one runs nothing. Nothing here makes a hook of slurmstepd itself fail, since that drains nodes; what goes wrong is
 * kept, and the step's tasks end with it in slurm_spank_task_init, when Slurm expects them to run or to fail.
 */
#ifndef SOCKER_STEP_H
#define SOCKER_STEP_H

#include <slurm/spank.h>

/*
 * slurm_spank_user_init: slurmstepd, real uid 0, effective uid the user's, in the step's directory. Finds the record
 * or starts the opener; never waits.
 */
void step_begin(spank_t sp, int count, char *words[]);

/* slurm_spank_task_init_privileged: the task, root, signals blocked. Waits for the opener; opens the container. */
void step_task_prepare(spank_t sp);

/* slurm_spank_task_init: the task, the user. Joins, or says why not (local task 0) and ends the task with 1. */
void step_task_join(spank_t sp);

/*
 * slurm_spank_task_exit: slurmstepd, root, once for each task. After the last one of a step that saves its container it
 * waits for that, at most save_deadline. What it says still reaches the user, which it would not from slurm_spank_exit.
 * A step with a task that a signal ended, as cancelling does, is not saved.
 */
void step_task_ended(spank_t sp, int count, char *words[]);

/* slurm_spank_job_epilog: root, a process of its own. Closes the job's containers on this node. */
void step_job_end(spank_t sp, int count, char *words[]);

#endif
