/* SPDX-License-Identifier: Apache-2.0 */
/* Saving: the layer of a step's container becomes a local image. Runs as root, when the step's last task has ended. */
#ifndef SOCKER_SAVER_H
#define SOCKER_SAVER_H

#include "config.h"

/* Seconds beyond save_deadline after which a saving opener ends, whatever hangs. */
enum { SAVER_MARGIN = 10 };

/*
 * Saves the open container of a request as the image that its record names; the step holds the image's lock. The
 * container stays as it is, so that another step of the job can save it where this fails. -1: there is no such image.
 */
int saver_save(const struct socker_config *config, const struct socker_request *request, struct socker_error *err);

#endif
