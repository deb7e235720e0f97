/* SPDX-License-Identifier: Apache-2.0 */
/* A step's request: its identity, what makes two requests the same, and where its record lies. */
#ifndef SOCKER_REQUEST_H
#define SOCKER_REQUEST_H

#include <stdbool.h>

#include "error.h"

/* Starts a request of zeros with its magic and size. */
void request_init(struct socker_request *request);

/*
 * The key: equal for the requests of a job on a node that share a container (same user, and the same
 * --container-name or, where there is none, the same reference and options), as 16 hex digits. It only names the
 * record; the record holds the whole request and is compared.
 */
void request_key(const struct socker_request *request, char key[17]);

/* A number for a text, by which it is locked; two texts may have the same. */
uint64_t request_hash(const char *text);

/* True when both are of the same job, user and node and name the same container, or neither names one. */
bool request_shares(const struct socker_request *one, const struct socker_request *other);

/*
 * True when what was opened for one request is what another asks for: the same reference and options or, for a
 * container that is named, no option that the first had not.
 */
bool request_fits(const struct socker_request *opened, const struct socker_request *asked);

/* True when the request's options say that its container is to be saved. */
bool request_saves(const struct socker_request *request);

/*
 * Checks what C relies on before a request is used: sizes, ended strings, uid and gid of a normal user
 * (0 < id < 2^31), a node name that is one plain path component.
 */
int request_check(const struct socker_request *request, struct socker_error *err);

/* True when path is base or lies below it; both absolute, compared by whole components. */
bool path_below(const char *path, const char *base);

#endif
