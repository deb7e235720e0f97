/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The opener's verbs: `socker-opener open|save|close|sweep WORD...` with the words of the plugstack line. Each runs as
 * root in a process of its own that slurmstepd (open, save), the SPANK epilog (close) or a timer (sweep) has executed.
 */
#ifndef SOCKER_OPENER_H
#define SOCKER_OPENER_H

#include "config.h"

/* The directory this program lies in, where hold and socker-policy are too. */
extern char opener_libdir[SOCKER_PATH_SIZE];

/*
 * Opens the container of a request, or finds it open: afterwards its record is on disk and covers the request.
 * Waits for other openers of the same key.
 */
int opener_open(const struct socker_config *config, struct socker_request *request, struct socker_error *err);

#endif
