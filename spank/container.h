/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The open container, seen through its hold process. A pid is a name that can be reused: every use starts with a
 * pidfd, compares what the record says, and asks the pidfd again after the namespace was opened. Runs as root.
 */
#ifndef SOCKER_CONTAINER_H
#define SOCKER_CONTAINER_H

#include "record.h"

/* The namespaces beside its mount namespace that a container may have of its own. */
enum { CONTAINER_SPACES = 3 };
extern const struct container_space {
	const char *name; /* in /proc/PID/ns */
	int type;	  /* CLONE_NEW* */
	uint32_t flag;	  /* SOCKER_PLAN_* */
} container_spaces[CONTAINER_SPACES];

/* What a task needs to join. All descriptors are O_CLOEXEC, -1 when absent. */
struct container {
	int pidfd;
	int mnt;
	int spaces[CONTAINER_SPACES];
};

/* One that is not attached. */
extern const struct container container_none;

/* Ends a container handle; harmless twice. */
void container_release(struct container *container);

/*
 * Reads what identifies a hold process that Docker has just started as pid, and checks that it is ours: its
 * executable is hold_path, ids are uid and gid, no capability, no_new_privs, a seccomp filter, the initial user
 * namespace, the host's pid namespace and a mount namespace of its own.
 */
int container_identify(struct record_hold *hold, int pid, const char *hold_path, uint32_t uid, uint32_t gid,
		       struct socker_error *err);

/* Makes the hold process the last the kernel kills when memory is short, where root may do that here. */
void container_protect(const struct record_hold *hold);

/*
 * Opens the container that the record names, with those namespaces that flags (SOCKER_PLAN_*) say are its own; -1 when
 * its hold process is not the recorded one any more.
 */
int container_attach(struct container *container, const struct record_hold *hold, uint32_t flags,
		     struct socker_error *err);

/* Tells that the hold process has not ended since the container was attached. */
int container_lives(const struct container *container, struct socker_error *err);

/* Kills what still runs in the container's mount namespace, then the hold process; waits for its end, up to 2 s. */
void container_kill(const struct record_hold *hold);

#endif
