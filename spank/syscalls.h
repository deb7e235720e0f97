/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernel has since before 5.12 but the headers of an older distribution may not name. */
#ifndef SOCKER_SYSCALLS_H
#define SOCKER_SYSCALLS_H

#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <linux/types.h>
#include <sys/syscall.h>
#include <unistd.h>

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

/*
 * openat2 with O_CLOEXEC; resolve is RESOLVE_*. Returns -1 and errno. Where ".." is walked below a root, the kernel
 * says EAGAIN when something was renamed or mounted meanwhile, anywhere on the machine: then it is asked again.
 */
static inline int openat2_raw(int dir, const char *path, __u64 flags, __u64 resolve)
{
	struct open_how how = {.flags = flags | O_CLOEXEC, .resolve = resolve};
	int fd = -1;

	for (int attempt = 0; attempt < 1000; attempt++) {
		fd = (int)syscall(SYS_openat2, dir, path, &how, sizeof(how));
		if (fd >= 0 || errno != EAGAIN)
			break;
	}
	return fd;
}

#endif
