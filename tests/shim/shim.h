/* SPDX-License-Identifier: Apache-2.0 */
/* All that the module shows to Python: what shim_api.h and helpers.h declare to cffi, for the compiler. */
#ifndef SHIM_H
#define SHIM_H

#include <slurm/slurm.h>
#include <slurm/spank.h>
#include <stdlib.h>

#include "accounts.h"
#include "breaker.h"
#include "cgroup.h"
#include "closer.h"
#include "condense.h"
#include "config.h"
#include "confine.h"
#include "container.h"
#include "error.h"
#include "inside.h"
#include "join.h"
#include "jobspace.h"
#include "launch.h"
#include "mounts.h"
#include "opener.h"
#include "options.h"
#include "outcome.h"
#include "place.h"
#include "plan.h"
#include "pmix.h"
#include "policychild.h"
#include "record.h"
#include "request.h"
#include "seccomp.h"
#include "source.h"
#include "step.h"
#include "steprequest.h"
#include "token.h"
#include "trust.h"

#include "helpers.h"

enum {
	HOLD_HOST_MOUNTS = 1,	 /* the mount namespace is the starter's */
	HOLD_NEW_PRIVILEGES = 2, /* no no_new_privs */
	HOLD_UNFILTERED = 4,	 /* no seccomp filter */
	HOLD_BOUNDED = 8,	 /* the bounding set is not empty */
	HOLD_INHERITABLE = 16,	 /* the inheritable set is not empty */
	HOLD_USER_NAMESPACE = 32,
	HOLD_PID_NAMESPACE = 64,
	HOLD_PLAIN_DEV = 128, /* /dev is not a file system of its own */

	HOLD_OWN_NET = 256, /* no flaws: namespaces that the container has of its own */
	HOLD_OWN_IPC = 512,
	HOLD_OWN_UTS = 1024,

	HOLD_FIRST_ERRNO = 40, /* what the older of the two filters makes of getpriority */
	HOLD_LAST_ERRNO = 50,  /* and the newer, which wins */
};

int opener_main(int argc, char *argv[]);

#endif
