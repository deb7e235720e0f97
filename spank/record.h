/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The record: what root knows of an open container, and all that a later step needs to join it.
 *
 *     <state>/<node>/<job>/<key>             the record; replaced whole by rename, so a mapped one never changes
 *     <state>/<node>/<job>/<key>.lock        flock: held exclusively while the record may change
 *
 * All of it belongs to root, directories 0700, files 0600. The record is written before Docker is asked to create
 * (INTENT: only the name is known) and again when the container is open (OPEN).
 */
#ifndef SOCKER_RECORD_H
#define SOCKER_RECORD_H

#include <linux/filter.h>
#include <stdbool.h>

#include "error.h"

enum {
	RECORD_MAGIC = 0x636572b5,
	RECORD_INTENT = 1,
	RECORD_OPEN = 2,
	RECORD_PLAIN = 3, /* there is no container and the steps need none */
	RECORD_CGROUPS_MAX = 16,
	RECORD_PLACES_MAX = 192,
	RECORD_FILTERS_MAX = 4,
	RECORD_TEXT_SIZE = 2 * SOCKER_TEXT_SIZE,
	RECORD_LABEL_SIZE = 256,
	RECORD_INSTRUCTIONS_MAX = 8192,
};

/* What tells the hold process from any other that gets its pid later. */
struct record_hold {
	int32_t pid;
	uint64_t start;	  /* clock ticks since boot, /proc/PID/stat field 22 */
	uint64_t exe_dev; /* of the hold binary */
	uint64_t exe_inode;
	uint64_t mnt_inode; /* of its mount namespace */
};

/* A place of the host in the container: its offset in text, and 0 or the errno that kept it out. */
struct record_place {
	uint32_t path;
	int32_t error;
	uint32_t planned; /* non-zero: by the plan, so for all steps; else by one step, for its own directory */
	uint32_t other;	  /* non-zero: not the host's directory of the same path */
};

struct record_filter {
	uint32_t flags; /* SECCOMP_FILTER_FLAG_* */
	uint32_t first; /* index of its first instruction */
	uint32_t count;
};

struct socker_record {
	uint32_t magic;
	uint32_t size;
	uint32_t state; /* 0: not a record */
	uint32_t flags; /* SOCKER_PLAN_* */
	struct socker_request request;
	char id[SOCKER_ID_SIZE];
	char digest[SOCKER_DIGEST_SIZE];
	char label[RECORD_LABEL_SIZE]; /* AppArmor profile of the container; empty where there is none */
	struct record_hold hold;
	uint32_t cgroup_count;
	uint32_t cgroups[RECORD_CGROUPS_MAX]; /* offsets: the directories we made for the hold process */
	uint32_t place_count;
	struct record_place places[RECORD_PLACES_MAX];
	uint32_t env_count;
	uint32_t env[SOCKER_ENV_MAX]; /* offsets of NAME=value */
	uint32_t workdir;	      /* offset */
	uint32_t entry_count;
	uint32_t entry[SOCKER_ENTRY_MAX]; /* offsets: the image's ENTRYPOINT */
	uint32_t unset_count;
	uint32_t unset[SOCKER_UNSET_MAX]; /* offsets: names of variables that tasks do not get */
	uint32_t save;			  /* offset: the image that a step saves it as; 0: none does */
	uint32_t filter_count;
	struct record_filter filters[RECORD_FILTERS_MAX];
	struct sock_filter instructions[RECORD_INSTRUCTIONS_MAX];
	uint32_t text_size;
	char text[RECORD_TEXT_SIZE];
};

/* Opens <state>; with make, its last component is made. -1 with errno ENOENT where there is none. */
int record_open_state(const char *state, int make, struct socker_error *err);

/* Opens <state>/<node>/<job>; with make, missing parts of it are made. -1 with errno ENOENT where there is none. */
int record_open_dir(const char *state, const char *node, uint32_t job, int make, struct socker_error *err);

/*
 * Locks a key exclusively, waiting at most seconds, or until cancel (a descriptor, or -1) can be read. Returns the
 * descriptor that holds the lock.
 */
int record_lock(int dir, const char *key, unsigned int seconds, int cancel, struct socker_error *err);

/* How many containers a job may have on a node: as many as are closed together, and a bound for the state directory. */
enum { RECORD_KEYS_MAX = 32 };

/* The number of locks in a job's directory, which is that of the keys it has asked for; -1 where it cannot be read. */
int record_count_keys(int dir);

/* Maps a record read-only. NULL when there is none or it is not a whole record of this version; end with unmap. */
const struct socker_record *record_map(int dir, const char *key);
void record_unmap(const struct socker_record *record);

/* Replaces the record on disk. */
int record_write(int dir, const char *key, const struct socker_record *record, struct socker_error *err);

/* Appends text to the record's arena and returns its offset, or 0 when it is full (offset 0 is never used). */
uint32_t record_add_text(struct socker_record *record, const char *text);

/* The place that lends the host's path: the longest one that it lies in or below; NULL when none does. */
const struct record_place *record_place_of(const struct socker_record *record, const char *path);

#endif
