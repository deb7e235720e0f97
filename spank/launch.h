/* SPDX-License-Identifier: Apache-2.0 */
/* Starting socker-opener from slurmstepd and waiting for it: the only process the plugin makes. */
#ifndef SOCKER_LAUNCH_H
#define SOCKER_LAUNCH_H

#include <stdbool.h>

#include "outcome.h"

/* An opener at work. Descriptors are O_CLOEXEC, -1 when absent; tasks inherit them by fork. */
struct launch {
	int pid;     /* of what was started: for the verb open it has ended already, see below */
	int life;    /* read end of a pipe that closes when the opener ends */
	int cancel;  /* write end of a pipe that tells it to end */
	int outcome; /* memfd with a struct outcome */
	int space;   /* socket to it, for jobspace_send */
};

/*
 * Starts `socker-opener verb words...` as root with the request, from a thread whose effective uid is 0. Only an exec
 * is safe in a child of slurmstepd, which has threads; posix_spawn does nothing else.
 */
int launch_opener(struct launch *launch, const char *verb, int count, char *const words[],
		  const struct socker_request *request, struct socker_error *err);

/* The same for a step that saves: saving is what the opener gets as OPENER_SAVING. */
int launch_saving_opener(struct launch *launch, int count, char *const words[], const struct socker_request *request,
			 int saving, struct socker_error *err);

/*
 * For the verb open: waits until the opener has put itself into the background, about a millisecond. slurmstepd waits
 * for any child while its tasks run, and after one that is no task it sleeps for 100 ms; so the opener is not its
 * child. Nor does a signal to the step's processes reach it then.
 */
int launch_detach(struct launch *launch, struct socker_error *err);

/*
 * Waits for the opener in a task whose signals are blocked; a cancelled task ends the opener and then itself, by the
 * signal it was sent. 0: the record is there.
 */
int launch_wait(const struct launch *launch, struct socker_error *err);

/* Whether the opener has ended and opened the container. */
bool launch_granted(const struct launch *launch);

/* For the verb save: waits at most milliseconds for its end, then kills it. Otherwise the opener's own words. */
int launch_result(struct launch *launch, int milliseconds, struct socker_error *err);

/* For the verb close: waits at most milliseconds for its end, then kills it. */
int launch_finish(struct launch *launch, int milliseconds, struct socker_error *err);

#endif
