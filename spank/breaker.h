/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Leaves a Docker alone that does not answer: after three openings in a row that waited in vain, those of the next 30
 * seconds are refused at once, so that a hanging daemon does not keep every step of the node for the whole deadline.
 * The count is a file of root's, <state>/<node>/silence. Runs as root, in the opener.
 */
#ifndef SOCKER_BREAKER_H
#define SOCKER_BREAKER_H

#include <stdbool.h>

#include "error.h"

enum { BREAKER_TIMES = 3, BREAKER_SECONDS = 30 };

/* -1: Docker is to be left alone. */
int breaker_allows(const char *state, const char *node, struct socker_error *err);

/* Notes that Docker answered, or that it was waited for in vain. What cannot be noted is not counted. */
void breaker_note(const char *state, const char *node, bool silent);

#endif
