/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel's file-descriptor mount calls; glibc has wrappers for them only since 2.36. All return -1 and errno. */
#ifndef SOCKER_MOUNTAPI_H
#define SOCKER_MOUNTAPI_H

#include <linux/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "syscalls.h"

#ifndef AT_RECURSIVE
#define AT_RECURSIVE 0x8000
#endif
#ifndef MS_PRIVATE
#define MS_PRIVATE (1 << 18)
#endif

static inline int open_tree_raw(int dir, const char *path, unsigned int flags)
{
	return (int)syscall(SYS_open_tree, dir, path, flags);
}

static inline int fsopen_raw(const char *type)
{
	return (int)syscall(SYS_fsopen, type, FSOPEN_CLOEXEC);
}

static inline int fsconfig_raw(int fs, unsigned int command, const char *key, const char *value)
{
	return (int)syscall(SYS_fsconfig, fs, command, key, value, 0);
}

static inline int fsmount_raw(int fs, unsigned int attributes)
{
	return (int)syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, attributes);
}

static inline int move_mount_raw(int from, int to)
{
	return (int)syscall(SYS_move_mount, from, "", to, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
}

static inline int mount_setattr_raw(int dir, const char *path, unsigned int flags, const struct mount_attr *attr)
{
	return (int)syscall(SYS_mount_setattr, dir, path, flags, attr, sizeof(*attr));
}

#endif
