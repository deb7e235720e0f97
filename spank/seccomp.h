/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The container's seccomp filter: what Docker installed for the hold process is read out of the kernel and installed
 * for every task, so that a task is filtered exactly as a process that Docker started.
 */
#ifndef SOCKER_SECCOMP_H
#define SOCKER_SECCOMP_H

#include "record.h"

/* Copies the filters of pid into the record. Runs as root in the opener: ptrace, CAP_SYS_ADMIN. */
int seccomp_copy(struct socker_record *record, int pid, struct socker_error *err);

/*
 * Replaces the record's filters by condensed ones (condense.h) that decide the same. The work is done once: state, the
 * directory for records, keeps the last filter of each kind with its condensed form.
 */
void seccomp_condense(struct socker_record *record, const char *state);

/* Installs the record's filters for this thread, oldest first. Runs in the task, as the user, after no_new_privs. */
int seccomp_install(const struct socker_record *record, struct socker_error *err);

#endif
