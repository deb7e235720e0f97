/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a mount comes from: a file or directory of the host, opened as the user; a device node that policy names; a
 * tmpfs. Runs as root, in the opener.
 */
#ifndef SOCKER_SOURCE_H
#define SOCKER_SOURCE_H

#include <stdbool.h>

#include "error.h"

/*
 * Returns a detached mount of source, nosuid and (but for a device) nodev, as SOCKER_MOUNT_* flags say; file is set
 * when it is not a directory. base: as in struct socker_mount. -1 and errno: what the user would get, EPERM for a file
 * system of the kernel, ENOTBLK for what is neither file nor directory, ENODEV for no device, EBUSY
 * where a user asks for a flat mount and something is mounted below, ENOSYS for a kernel that
 * is too old.
 */
int source_open(const struct socker_request *request, const char *source, uint32_t base, uint32_t flags, int *file);

/* The same of what is open already. */
int source_clone(int source, uint32_t flags);

/* True for a file system of the kernel (proc, sysfs, cgroup, ...), and where it is not known. */
bool source_is_kernels(int fd);

#endif
