/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The node's token: 32 hex digits in a file of root's that nobody else can read. It labels our containers, so that no
 * label of an image can pass for ours. It outlives a reboot, which is how a sweep knows the containers from before it.
 */
#ifndef SOCKER_TOKEN_H
#define SOCKER_TOKEN_H

#include "error.h"

/* Reads the token, making file and directory (0700, one level) when they are missing. */
int token_read(const char *path, char token[SOCKER_TOKEN_SIZE], struct socker_error *err);

#endif
