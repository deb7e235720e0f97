/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The values that pass between the C side (root) and socker-policy (dockerroot).
 *
 * Fixed sizes, no pointers: a value is read whole from a descriptor of exactly its size or it is refused.
 * Strings end in NUL inside their array. Zero is refuse everywhere. cffi parses the part between the two
 * marks, so it holds declarations only. Each socker_* value starts with its magic and its own size in bytes;
 * the echo of the request's nonce proves that an answer was filled for this request.
 */
#ifndef SOCKER_WIRE_H
#define SOCKER_WIRE_H

#include <stdint.h>

/* cffi: begin */
enum {
	SOCKER_REQUEST_MAGIC = 0x71736b73,
	SOCKER_PLAN_MAGIC = 0x706b736f,
	SOCKER_CLOSE_MAGIC = 0x636b736f,
	SOCKER_SAVE_MAGIC = 0x766b736f,
	SOCKER_POLICY_DONE = 0x534f434b, /* what a Python entry point returns when it filled its answer */

	SOCKER_GRANT = 0x47524e54, /* plan.verdict; everything else is a refusal */
	SOCKER_PLAIN = 0x4e4f4e45, /* no container was asked for, and none is required */

	SOCKER_REFERENCE_SIZE = 512,
	SOCKER_OPTIONS_SIZE = 8192,
	SOCKER_SHARED_SIZE = 64,
	SOCKER_NAME_SIZE = 96,
	SOCKER_PATH_SIZE = 4096,
	SOCKER_SOCKET_SIZE = 108,
	SOCKER_MESSAGE_SIZE = 1024,
	SOCKER_DIGEST_SIZE = 72, /* sha256: and 64 hex digits */
	SOCKER_ID_SIZE = 65,	 /* Docker's container id */
	SOCKER_TOKEN_SIZE = 33,
	SOCKER_NODE_SIZE = 256,
	SOCKER_GROUPS_MAX = 1024,
	SOCKER_MOUNTS_MAX = 128,
	SOCKER_ENV_MAX = 512,
	SOCKER_ENTRY_MAX = 32,
	SOCKER_UNSET_MAX = 64,
	SOCKER_TEXT_SIZE = 131072,
	SOCKER_CLOSE_MAX = 512,

	SOCKER_SHARE_NONE = 0, /* request.share: what --container-name says behind the name */
	SOCKER_SHARE_AUTO = 1,
	SOCKER_SHARE_CREATE = 2,
	SOCKER_SHARE_EXEC = 3,

	SOCKER_MOUNT_READONLY = 1,
	SOCKER_MOUNT_TMPFS = 2,	 /* an empty one; source is its mode and size as tmpfs takes them */
	SOCKER_MOUNT_ASKED = 4,	 /* by the user: what cannot be mounted is a refusal */
	SOCKER_MOUNT_DEVICE = 8, /* a device node, opened by root: policy has named it */
	SOCKER_MOUNT_FLAT = 16,	 /* without what is mounted below the source */

	SOCKER_SWEEP_RECORDED = 1, /* close.sweep: say which of the items' jobs are dead, remove nothing */
	SOCKER_SWEEP_ALL = 2,	   /* remove our containers, of any node, of dead jobs that are not among the items */

	SOCKER_PLAN_SUBMIT_DIR = 1, /* plan.flags: the opener also mounts the directory of each step */
	SOCKER_PLAN_LEFT = 2,	    /* of a refusal: a container by the request's name may exist */
	SOCKER_PLAN_NET = 4,	    /* the container has a network namespace of its own, which tasks join */
	SOCKER_PLAN_IPC = 8,
	SOCKER_PLAN_UTS = 16,
	SOCKER_PLAN_SILENT = 64,   /* of a refusal: Docker did not answer in time */
	SOCKER_PLAN_READONLY = 32, /* its root cannot be written */
};

/* One step's wish, as slurmstepd knows it; identity comes from SPANK items, never from the environment. */
struct socker_request {
	uint32_t magic;
	uint32_t size;
	uint64_t nonce;
	uint32_t job;
	uint32_t step;
	uint32_t uid;
	uint32_t gid;
	uint32_t hold_uid; /* whom the hold process runs as */
	uint32_t hold_gid;
	uint32_t deadline_ms; /* for the whole of the policy child */
	uint32_t group_count;
	uint32_t groups[SOCKER_GROUPS_MAX];
	uint32_t share;			       /* SOCKER_SHARE_* */
	char reference[SOCKER_REFERENCE_SIZE]; /* --container as typed: any bytes; empty: is one required? */
	char options[SOCKER_OPTIONS_SIZE];     /* those that shape the container, as lines NAME=VALUE: any bytes */
	char shared[SOCKER_SHARED_SIZE];       /* --container-name; empty for none */
	char node[SOCKER_NODE_SIZE];	       /* SLURMD_NODENAME */
	char name[SOCKER_NAME_SIZE];	       /* the container's name, made by the opener */
	char token[SOCKER_TOKEN_SIZE];	       /* the node's own; labels our containers */
	char cwd[SOCKER_PATH_SIZE];	       /* the step's working directory on the host */
	char script[SOCKER_PATH_SIZE];	       /* the batch script in slurmd's spool; empty for other steps */
	char spool[SOCKER_PATH_SIZE];	       /* slurmd's, where PMIx has files of the step; empty without PMIx */
	char prolog[SOCKER_PATH_SIZE];	       /* Slurm's TaskProlog, which runs in the container; empty for none */
	char docker[SOCKER_SOCKET_SIZE];       /* path of Docker's unix socket */
	char policy[SOCKER_PATH_SIZE];	       /* path of the policy file; it need not exist */
	char hold[SOCKER_PATH_SIZE];	       /* path of the hold binary on the host */
	char slurm_conf[SOCKER_PATH_SIZE];     /* for Slurm's own commands; empty for their default */
};

/* Offsets into plan.text. */
struct socker_mount {
	uint32_t source;
	uint32_t target;
	uint32_t flags;
	uint32_t base; /* bytes of source that policy names: no link leads out of it; 0: anywhere the user can go */
};

/* What policy decided and Docker started; the opener checks it again before it acts on it. */
struct socker_plan {
	uint32_t magic;
	uint32_t size;
	uint64_t nonce;
	uint32_t verdict;
	uint32_t job;
	uint32_t uid;
	uint32_t gid;
	uint32_t flags;
	int32_t hold_pid;
	char message[SOCKER_MESSAGE_SIZE]; /* why not, when refused: one line */
	char digest[SOCKER_DIGEST_SIZE];   /* the image's id */
	char id[SOCKER_ID_SIZE];	   /* the container's id */
	uint32_t mount_count;
	uint32_t env_count;
	uint32_t workdir; /* offset: the image's WORKDIR, or "/" */
	uint32_t entry_count;
	uint32_t unset_count;
	uint32_t passwd; /* offsets: what the container's account files say of the user; empty: they stay as they are */
	uint32_t group;
	uint32_t save; /* offset: the image that the container is saved as, in full; 0: it is not */
	uint32_t text_size;
	struct socker_mount mounts[SOCKER_MOUNTS_MAX];
	uint32_t env[SOCKER_ENV_MAX];	  /* offsets of NAME=value */
	uint32_t entry[SOCKER_ENTRY_MAX]; /* offsets: the image's ENTRYPOINT */
	uint32_t unset[SOCKER_UNSET_MAX]; /* offsets: names of variables that tasks do not get */
	char text[SOCKER_TEXT_SIZE];
};

struct socker_close_item {
	uint32_t job;
	uint32_t keep; /* answer: non-zero when the container may still exist, in a sweep: when the job lives */
	char name[SOCKER_NAME_SIZE]; /* empty in a sweep for a job that has no record */
	char id[SOCKER_ID_SIZE];     /* empty when only the intent to create was recorded */
};

/* Containers to remove: filled by root from its records, answered by socker-policy in the same value. */
struct socker_close {
	uint32_t magic;
	uint32_t size;
	uint64_t nonce;
	uint32_t sweep; /* 0: remove the items; SOCKER_SWEEP_*: ask Slurm which jobs live */
	uint32_t deadline_ms;
	uint32_t count;
	char node[SOCKER_NODE_SIZE];
	char token[SOCKER_TOKEN_SIZE];
	char docker[SOCKER_SOCKET_SIZE];
	char slurm_conf[SOCKER_PATH_SIZE];
	char message[SOCKER_MESSAGE_SIZE]; /* answer: what could not be removed, one line, else empty */
	struct socker_close_item items[SOCKER_CLOSE_MAX];
};

/* A container to save as an image: filled by root from its record, answered by socker-policy in the same value. */
struct socker_save {
	uint32_t magic;
	uint32_t size;
	uint64_t nonce;
	uint32_t saved; /* answer: SOCKER_GRANT when the image is there */
	uint32_t deadline_ms;
	uint32_t job;
	uint32_t step;
	uint32_t uid;
	char node[SOCKER_NODE_SIZE];
	char token[SOCKER_TOKEN_SIZE];
	char docker[SOCKER_SOCKET_SIZE];
	char name[SOCKER_NAME_SIZE]; /* the container's */
	char id[SOCKER_ID_SIZE];
	char base[SOCKER_DIGEST_SIZE];	       /* the id of the image it was made of */
	char reference[SOCKER_REFERENCE_SIZE]; /* the image to make, in full */
	char message[SOCKER_MESSAGE_SIZE];     /* answer: why not, one line */
};
/* cffi: end */

#endif
