/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hold process lives below the job's cgroup: Docker starts it in a cgroup of its own, and the opener moves it into
 * a directory "socker" beside the job's steps, in every hierarchy in which Slurm has one for the job. That is one way
 * for both cgroup versions and both of Docker's drivers (its systemd driver refuses any other place as a parent).
 * The job's path is read from /proc/self/cgroup of the opener, which a step of the job contains; it is never built.
 * Runs as root, in the opener.
 */
#ifndef SOCKER_CGROUP_H
#define SOCKER_CGROUP_H

#include "record.h"

/*
 * Finds the job's part of a cgroup path: all before its component "step_*". Writes it to job (size bytes) and returns
 * true; false where the path is not below a step of Slurm.
 */
bool cgroup_job_path(const char *path, char *job, size_t size);

/* Makes our directories, moves pid into them and adds them to the record. A site without Slurm's cgroups has none. */
int cgroup_place(struct socker_record *record, int pid, struct socker_error *err);

/* Removes the record's directories and those of the job and user above them that are empty now; waits up to 1 s. */
void cgroup_remove(const struct socker_record *record);

/* Removes directories of ours that are empty, in every job: for a sweep, without a record. */
void cgroup_sweep(void);

/*
 * Takes this process out of the step's cgroups, when its work is done: Slurm goes on as soon as the opener's pipe has
 * closed, and does not try again to remove a directory that was busy with a process on its way out.
 */
void cgroup_leave(void);

/*
 * Puts this process, a child of slurmstepd, among those that Slurm kills when it ends the step (a number as Slurm gives
 * it). With cgroup version 1 slurmstepd is not among them, with version 2 not for every Slurm.
 */
void cgroup_enter_step(uint32_t step);

#endif
