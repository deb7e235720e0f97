/* SPDX-License-Identifier: Apache-2.0 */
/* Which directories of the host a step needs in its container, and whether a record already has them. */
#ifndef SOCKER_PLACE_H
#define SOCKER_PLACE_H

#include "record.h"

/* True where a path of the host must not cover the container's: "/", /proc, /usr and the like. */
bool place_is_systems(const char *path);

/*
 * True where even a mount that the user asked for must not go (SECURITY R30): "/", /proc, /sys, socker's own, and /dev
 * but for a device.
 */
bool place_is_refused(const char *target, bool device);

/* True when what the step needs of the host is a place of the record already, or need not be any. */
bool place_covers(const struct socker_record *record, const struct socker_request *request);

/* True when the step's working directory must become a place. */
bool place_misses_cwd(const struct socker_record *record, const struct socker_request *request);

/* True when the batch script must become a place. */
bool place_misses_script(const struct socker_record *record, const struct socker_request *request);

/* True when slurmd's spool must become a place, for PMIx. */
bool place_misses_spool(const struct socker_record *record, const struct socker_request *request);

/* True when Slurm's TaskProlog must become a place. */
bool place_misses_prolog(const struct socker_record *record, const struct socker_request *request);

#endif
