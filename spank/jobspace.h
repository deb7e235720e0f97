/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The job's own mount namespace, where Slurm gives it one (job_container/tmpfs, in newer releases namespace/tmpfs):
 * what a user means by /tmp is what lies there in that namespace. Tasks are in it, slurmstepd and the opener are not,
 * so a task sends the opener a descriptor of its namespace.
 */
#ifndef SOCKER_JOBSPACE_H
#define SOCKER_JOBSPACE_H

#include "error.h"

/* In a task, before it waits for the opener. What fails is the opener's to notice, which waits for it. */
void jobspace_send(int socket);

/*
 * In the opener, which has one thread: waits until a task has sent its namespace, cancel can be read, or so many
 * milliseconds are over; then enters it where it is another one. home is for jobspace_leave. Where the opener was not
 * started by a step, and there is no socket, it stays where it is.
 */
int jobspace_enter(int socket, int cancel, int milliseconds, int *home, struct socker_error *err);
int jobspace_leave(int *home, struct socker_error *err);

#endif
