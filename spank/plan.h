/* SPDX-License-Identifier: Apache-2.0 */
/* The second look at what Python answered. A bug there may refuse, never grant what C would not. */
#ifndef SOCKER_PLAN_H
#define SOCKER_PLAN_H

#include "error.h"

/*
 * 0 when the plan grants this request and every part of it is within bounds: sizes, nonce, ids, an image by digest, a
 * container id, absolute and plain paths, flags of the closed set, environment names that Slurm does not own.
 * A refusal's message comes back in err, made printable.
 */
int plan_check(const struct socker_plan *plan, const struct socker_request *request, struct socker_error *err);

#endif
