/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The container's /etc/passwd and /etc/group: the lines of the plan, which name the user and the groups, and behind
 * them what the image has. A look-up takes the first line that fits, so the image cannot say who the user is. The files
 * lie beside the record and are bound over the image's, which stay as they are. Runs as root, in the opener.
 */
#ifndef SOCKER_ACCOUNTS_H
#define SOCKER_ACCOUNTS_H

#include "container.h"

/* Makes the files <key>.passwd and <key>.group in dir and attaches them. Lines that are empty leave a file as it is,
 * and one that the user has mounted from the host stays. */
int accounts_attach(const struct container *container, int dir, const char *key, const char *passwd, const char *group,
		    struct socker_error *err);

#endif
