/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What PMIx needs of the host. Slurm's server has a directory of the step in slurmd's spool, which its clients map
 * files of, and makes another one for the step's programs below /tmp, which in a container is the container's own.
 */
#ifndef SOCKER_PMIX_H
#define SOCKER_PMIX_H

#include <slurm/spank.h>

#include "wire.h"

/* In slurmstepd: fills request->spool where Slurm has started a PMIx server for the step. */
void pmix_read_spool(struct socker_request *request);

/* In a task that has joined, as the user: the programs' directory is there. What fails is left to the programs. */
void pmix_make_directory(spank_t sp, const struct socker_request *request);

#endif
