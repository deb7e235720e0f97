/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Root's short visits to a container's mount namespace, each in a forked child of the (single-threaded) opener that
 * never comes back out: raw system calls only, no name-service look-up, locale, log or exec in there. Paths of the
 * image are resolved below its root, without magic links.
 */
#ifndef SOCKER_INSIDE_H
#define SOCKER_INSIDE_H

#include <stdbool.h>

#include "error.h"

/*
 * Makes every mount nosuid and, but for /dev, nodev; puts the detached pts at /dev/pts with a /dev/ptmx to it; gives
 * /proc the options that hide processes (mount's data, "hidepid=2,gid=4"; empty for none).
 */
int inside_harden(int mnt, int pts, const char *proc_options, struct socker_error *err);

/*
 * Puts the detached tree at target, making missing components (directories 0755, a file for a file) in the
 * container's own layer. Returns 0 or an errno: EPERM where the target is not in the container's own layer.
 * With over_lent it may also be there already on what the host lent, but for a file system of the kernel.
 */
int inside_attach(int mnt, int tree, const char *target, bool file, bool over_lent);

/* The same for several in one visit, in their order; each gets its own cause. At most SOCKER_MOUNTS_MAX. */
struct inside_mount {
	int tree;
	const char *target;
	bool file, over_lent;
	int error; /* 0 or an errno */
};
void inside_attach_all(int mnt, struct inside_mount list[], uint32_t count);

/*
 * Puts a detached copy of the host's /sys/fs/cgroup over the container's, where a task would look for its own limits in
 * vain: Docker shows the hold process's. Returns 0 or an errno: ENODEV where /sys is none of the kernel's.
 */
int inside_show_cgroups(int mnt, int tree);

/* Makes the container's root read-only; what is mounted in it stays as it is. */
int inside_protect(int mnt, struct socker_error *err);

/* Takes what is ours, /.socker, out of the container's layer. The hold process runs on without its file. */
int inside_clear(int mnt, struct socker_error *err);

/*
 * Copies a regular file of the container, at most INSIDE_COPY_MAX bytes of it, to a descriptor. Returns 0, also where
 * there is no such file, or an errno: EINVAL where it is no regular file, EPERM where it is not in the container's own
 * layer.
 */
enum { INSIDE_COPY_MAX = 1 << 18 };
int inside_copy(int mnt, const char *path, int to);

#endif
