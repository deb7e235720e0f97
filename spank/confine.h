/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a task gives up, in the order in which it must: each part is checked by reading it back. All of it acts on the
 * calling thread, which is the only one of a task that slurmstepd has forked.
 */
#ifndef SOCKER_CONFINE_H
#define SOCKER_CONFINE_H

#include "record.h"

/* As root, before Slurm becomes the user: lets the permitted capabilities outlive that, and nobody trace the task. */
int confine_keep(struct socker_error *err);

/* As the user: keeps CAP_SYS_ADMIN, CAP_SYS_CHROOT (for setns) and CAP_SETPCAP (for the bounding set), no other. */
int confine_narrow(struct socker_error *err);

/*
 * As the user, inside: no capability in any set, no_new_privs, the AppArmor label (attr is an open
 * /proc/thread-self/attr/apparmor/exec of the host, or -1), the container's seccomp filter.
 */
int confine_drop(const struct socker_record *record, int attr, struct socker_error *err);

/* Reads back what confine_drop did and that the ids are the request's; -1 at the first difference. */
int confine_verify(const struct socker_request *request, struct socker_error *err);

#endif
