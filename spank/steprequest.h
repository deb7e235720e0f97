/* SPDX-License-Identifier: Apache-2.0 */
/* What slurmstepd knows of a step, read through SPANK into a request. Identity from SPANK items only. */
#ifndef SOCKER_STEPREQUEST_H
#define SOCKER_STEPREQUEST_H

#include <slurm/spank.h>
#include <stdbool.h>

#include "options.h"

/* True when the step asked for a container, with whatever value. Slurm's --container travels as SLURM_CONTAINER. */
bool steprequest_wanted(spank_t sp);

/* Fills the request and its tasks' options in slurm_spank_user_init: the calling thread's working directory is the
 * step's. Where no container was wanted, the reference is empty.
 */
int steprequest_read(spank_t sp, bool wanted, struct socker_request *request, struct task_options *tasks,
		     struct socker_error *err);

#endif
