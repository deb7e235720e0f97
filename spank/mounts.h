/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The container's mounts. Sources are opened on the host with the user's own credentials and moved in as descriptors,
 * so Docker never sees a path of the user's and nothing is attached that the user could not reach. Targets are
 * resolved inside the container by a child of the opener that has entered its mount namespace; nothing of the image is
 * executed, loaded or followed outside its root. Runs as root, in the opener.
 */
#ifndef SOCKER_MOUNTS_H
#define SOCKER_MOUNTS_H

#include "container.h"

/*
 * Opens sources on the host and attaches them. A source the user may not enter, or a target that cannot be covered,
 * becomes a place with its errno, not a failure. Each place is added to the record.
 */
struct mounts {
	uint32_t count;
	struct {
		char path[SOCKER_PATH_SIZE]; /* target inside; the source's own path on the host */
		uint32_t flags;		     /* SOCKER_MOUNT_* */
		int tree;		     /* detached copy of the source; -1 when error is set */
		int file;		     /* not a directory */
		int other;		     /* not the host's path of that name */
		int error;
	} list[SOCKER_MOUNTS_MAX];
};

/* Ends what is open in the list. */
void mounts_release(struct mounts *mounts);

/*
 * Adds source, opened as the user of the request, to the list; base as in struct socker_mount. With
 * SOCKER_MOUNT_ASKED what cannot be mounted is an error.
 */
int mounts_add(struct mounts *mounts, const struct socker_request *request, const char *source, uint32_t base,
	       const char *target, uint32_t flags, struct socker_error *err);

/* Before the first task joins: every mount nosuid and, but for /dev, nodev; the host's devpts; checked afterwards. */
int mounts_harden(const struct container *container, int hold_pid, struct socker_error *err);

/* Attaches the list inside the container and notes each as a place of the record, planned or a step's own. */
int mounts_attach(struct mounts *mounts, const struct container *container, struct socker_record *record, bool planned,
		  struct socker_error *err);

#endif
