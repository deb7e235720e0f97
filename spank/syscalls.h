/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernel has since before 5.12 but the headers of an older distribution may not name. */
#ifndef SOCKER_SYSCALLS_H
#define SOCKER_SYSCALLS_H

#include <linux/mount.h>
#include <linux/types.h>
#include <sys/syscall.h>

/* numbers that are the same on every architecture */
#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#ifndef SYS_openat2
#define SYS_openat2 437
#endif
#ifndef SYS_mount_setattr
#define SYS_mount_setattr 442
#endif

#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC (1U << 2)
#endif

#ifndef MOUNT_ATTR_SIZE_VER0
struct mount_attr {
	__u64 attr_set;
	__u64 attr_clr;
	__u64 propagation;
	__u64 userns_fd;
};
#define MOUNT_ATTR_SIZE_VER0 32
#endif

#endif
