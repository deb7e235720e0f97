/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The join: a task of slurmstepd, already the user and in its final cgroup, enters the container. A table of
 * operations and one loop; the first that fails ends the task. Runs in slurm_spank_task_init, the last hook before
 * Slurm looks the command up and executes it.
 */
#ifndef SOCKER_JOIN_H
#define SOCKER_JOIN_H

#include "container.h"

struct task_options;

struct join {
	const struct socker_record *record;
	const struct socker_request *request; /* of this step: its directory, ids and groups */
	const struct task_options *options;
	struct container *container;
	int kept;     /* a descriptor that is meant to be inherited (PMI's socket), or -1 */
	int apparmor; /* an open /proc/thread-self/attr/apparmor/exec of the host, or -1 */
};

/* As root, in slurm_spank_task_init_privileged: keeps what the join needs and opens what must be opened on the host. */
int join_prepare(struct join *join, struct socker_error *err);

/* As the user: all of it. Afterwards the thread is inside, has no capability and cannot get one. */
int join_container(struct join *join, struct socker_error *err);

#endif
