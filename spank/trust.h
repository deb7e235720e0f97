/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening what root relies on. Every component from "/" on must be a directory of root that nobody else can write
 * (a sticky bit is no excuse), the last one of the kind asked for; nothing is a symlink. What was opened is what was
 * checked. Runs as root, in the opener and in slurmstepd's own thread.
 */
#ifndef SOCKER_TRUST_H
#define SOCKER_TRUST_H

#include "error.h"

/* Opens a regular file for reading. Returns a descriptor (O_CLOEXEC) or -1. */
int trust_open_file(const char *path, struct socker_error *err);

/* Opens a directory. Returns a descriptor (O_CLOEXEC) or -1; errno is ENOENT where it does not exist. */
int trust_open_dir(const char *path, struct socker_error *err);

/* The same below an open directory, one component deep; missing ones are made 0700 where make is non-zero. */
int trust_open_dir_at(int dir, const char *name, int make, struct socker_error *err);

#endif
