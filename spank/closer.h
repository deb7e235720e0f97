/* SPDX-License-Identifier: Apache-2.0 */
/* The end of containers: what the SPANK epilog and the sweep do. Runs as root, in processes of their own. */
#ifndef SOCKER_CLOSER_H
#define SOCKER_CLOSER_H

#include "config.h"

/* Removes the container of one record of a job's directory, its cgroup directories and the record. */
int closer_close_key(const struct socker_config *config, int dir, const char *key, struct socker_error *err);

/*
 * Removes all containers of a job on a node, their cgroup directories, records and the job's directory. -1 when
 * something is left for a sweep; what could be removed is gone all the same.
 */
int closer_close_job(const struct socker_config *config, const char *node, uint32_t job, struct socker_error *err);

/*
 * Closes the jobs in the state directory that Slurm does not know as live on their node, and has the policy child
 * remove our containers that have no record and no live job. Nothing is removed when Slurm does not answer. Prints
 * one line for each job it closes (with dry_run: would close) to standard output.
 */
int closer_sweep(const struct socker_config *config, int dry_run, struct socker_error *err);

#endif
