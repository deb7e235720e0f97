/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The policy child: socker-policy, run by the opener as dockerroot. It gets one value on descriptor 0, writes one
 * answer to descriptor 1, has an empty environment, no other descriptor, no_new_privs, and dies with the opener.
 */
#ifndef SOCKER_POLICYCHILD_H
#define SOCKER_POLICYCHILD_H

#include "error.h"

/*
 * Runs `socker-policy verb` from libdir as user. question and answer are whole values of the given sizes in bytes; the
 * answer is only touched when the child ended well and wrote exactly that much. Killed after deadline_ms, or
 * when cancel (a descriptor, or -1) can be read; errno is ETIMEDOUT then, or ECANCELED.
 */
int policychild_ask(const char *libdir, const char *user, const char *verb, const void *question, size_t question_size,
		    void *answer, size_t answer_size, uint32_t deadline_ms, int cancel, struct socker_error *err);

#endif
