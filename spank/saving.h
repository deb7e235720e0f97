/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Never two writers of an image: <state>/saving is a file of root's, and a name in it is one byte, which a step that
 * saves locks from its beginning to its end. The lock belongs to the open file, which slurmstepd holds and the opener,
 * who alone knows the image's full name, inherits: the kernel gives it up however the two end.
 */
#ifndef SOCKER_SAVING_H
#define SOCKER_SAVING_H

#include "error.h"

/* Opens the file, for slurmstepd as root. Returns a descriptor (O_CLOEXEC) without a lock, or -1. */
int saving_open(const char *state, struct socker_error *err);

/* Locks an image's full name in fd, if that is the file. -1: another step has it. */
int saving_lock(int fd, const char *state, const char *reference, struct socker_error *err);

#endif
