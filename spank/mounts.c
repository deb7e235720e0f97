/* SPDX-License-Identifier: Apache-2.0 */
#include "mounts.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>

#include "inside.h"
#include "mountapi.h"
#include "place.h"
#include "scope.h"

void mounts_release(struct mounts *mounts)
{
	for (uint32_t i = 0; i < mounts->count; i++)
		scope_close(&mounts->list[i].tree);
	mounts->count = 0;
}

/* Kernel file systems are the container's own or nobody's. */
static bool source_is_kernels(int fd)
{
	struct statfs fs;

	if (fstatfs(fd, &fs) < 0)
		return true;
	switch ((unsigned long)fs.f_type) {
	case PROC_SUPER_MAGIC:
	case SYSFS_MAGIC:
	case CGROUP_SUPER_MAGIC:
	case CGROUP2_SUPER_MAGIC:
	case DEVPTS_SUPER_MAGIC:
	case DEBUGFS_MAGIC:
	case TRACEFS_MAGIC:
	case SECURITYFS_MAGIC:
	case BPF_FS_MAGIC:
		return true;
	default:
		return false;
	}
}

/* Opens source as the user would; a directory must be one the user may enter. Returns -1 and errno. */
static int open_as_user(const struct socker_request *request, const char *source)
{
	struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_NO_MAGICLINKS};
	struct stat status;
	autofd inside = -1;
	autofd fd = -1;
	int cause = 0;

	if (setgroups(request->group_count, request->groups) < 0)
		return -1;
	setfsgid(request->gid);
	/* the kernel takes the file capabilities out of the effective set with this, and gives them back below */
	setfsuid(request->uid);
	fd = (int)syscall(SYS_openat2, AT_FDCWD, source, &how, sizeof(how));
	if (fd < 0 || fstat(fd, &status) < 0)
		cause = errno;
	else if (S_ISDIR(status.st_mode) && (inside = openat(fd, ".", O_PATH | O_CLOEXEC)) < 0)
		cause = errno;
	setfsuid(0);
	setfsgid(0);
	if (setgroups(0, NULL) < 0)
		return -1;
	if (!cause && !S_ISDIR(status.st_mode) && !S_ISREG(status.st_mode))
		cause = ENOTDIR;
	if (!cause && source_is_kernels(fd))
		cause = EPERM;
	errno = cause;
	return cause ? -1 : steal_fd(&fd);
}

static int clone_tree(int source, uint32_t flags)
{
	struct mount_attr attr = {
		.attr_set =
			MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | (flags & SOCKER_MOUNT_READONLY ? MOUNT_ATTR_RDONLY : 0),
		.propagation = MS_PRIVATE,
	};
	autofd tree = open_tree_raw(source, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | AT_RECURSIVE);

	if (tree < 0 || mount_setattr_raw(tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr) < 0)
		return -1;
	return steal_fd(&tree);
}

int mounts_add(struct mounts *mounts, const struct socker_request *request, const char *source, const char *target,
	       uint32_t flags, struct socker_error *err)
{
	struct stat status;
	autofd fd = -1;
	uint32_t index = mounts->count;

	if (index == SOCKER_MOUNTS_MAX)
		return socker_fail(err, "more than %d mounts", SOCKER_MOUNTS_MAX);
	if (strlen(target) >= SOCKER_PATH_SIZE)
		return socker_fail(err, "the path of a mount is too long");
	memset(&mounts->list[index], 0, sizeof(mounts->list[index]));
	strcpy(mounts->list[index].path, target);
	mounts->list[index].flags = flags;
	mounts->list[index].tree = -1;
	mounts->count++;
	if (place_is_systems(target)) {
		mounts->list[index].error = EPERM;
		return 0;
	}
	fd = open_as_user(request, source);
	if (fd < 0) {
		mounts->list[index].error = errno;
		return 0;
	}
	mounts->list[index].file = fstat(fd, &status) == 0 && !S_ISDIR(status.st_mode);
	mounts->list[index].tree = clone_tree(fd, flags);
	if (mounts->list[index].tree < 0)
		return socker_fail(err, "%s cannot be mounted on this node: %m (Linux 5.12 or newer is needed)",
				   source);
	return 0;
}

int mounts_attach(struct mounts *mounts, const struct container *container, struct socker_record *record, bool planned,
		  struct socker_error *err)
{
	for (uint32_t i = 0; i < mounts->count; i++) {
		if (record->place_count == RECORD_PLACES_MAX)
			return socker_fail(err, "more than %d directories of the host in one container",
					   RECORD_PLACES_MAX);
		if (mounts->list[i].tree >= 0)
			mounts->list[i].error = inside_attach(container->mnt, mounts->list[i].tree,
							      mounts->list[i].path, mounts->list[i].file);
		record->places[record->place_count] = (struct record_place){
			.path = record_add_text(record, mounts->list[i].path),
			.error = mounts->list[i].error,
			.planned = planned,
		};
		if (!record->places[record->place_count++].path)
			return socker_fail(err, "the record is full");
	}
	return 0;
}

/* One line of mountinfo: field 5 is the mount point, field 6 its options. */
static int check_mount(const char *line, struct socker_error *err)
{
	char point[2048];
	char options[512];

	if (sscanf(line, "%*s %*s %*s %*s %2047s %511s", point, options) != 2)
		return socker_fail(err, "an unreadable mount in the container");
	if (!strstr(options, "nosuid"))
		return socker_fail(err, "mount %s of the container is not nosuid", point);
	if (!strstr(options, "nodev") && strcmp(point, "/dev") != 0 && strcmp(point, "/dev/pts") != 0)
		return socker_fail(err, "mount %s of the container is not nodev", point);
	return 0;
}

static int check_mounts(int hold_pid, struct socker_error *err)
{
	char path[32];
	char line[8192];
	autofclose FILE *mounts = NULL;
	int seen = 0;

	snprintf(path, sizeof(path), "/proc/%d/mountinfo", hold_pid);
	mounts = fopen(path, "re");
	while (mounts && fgets(line, sizeof(line), mounts)) {
		if (check_mount(line, err) < 0)
			return -1;
		seen++;
	}
	return seen ? 0 : socker_fail(err, "the container's mounts cannot be read: %m");
}

/* Those options of the host's /proc that hide processes, as mount's data. */
static void read_proc_options(char *out, size_t size)
{
	char line[4096];
	autofclose FILE *mounts = fopen("/proc/self/mountinfo", "re");

	out[0] = '\0';
	while (mounts && fgets(line, sizeof(line), mounts)) {
		char point[2048];
		char options[512];
		char *rest = options;
		char *word;
		char *tail = strstr(line, " - proc ");

		if (!tail || sscanf(line, "%*s %*s %*s %*s %2047s", point) != 1 || strcmp(point, "/proc") != 0 ||
		    sscanf(tail, " - proc %*s %511s", options) != 1)
			continue;
		out[0] = '\0'; /* a later mount covers an earlier one */
		while ((word = strsep(&rest, ","))) {
			if (strncmp(word, "hidepid=", 8) != 0 && strncmp(word, "gid=", 4) != 0)
				continue;
			snprintf(out + strlen(out), size - strlen(out), "%s%s", out[0] ? "," : "", word);
		}
	}
}

int mounts_harden(const struct container *container, int hold_pid, struct socker_error *err)
{
	char proc_options[128];
	autofd pts = open_tree_raw(AT_FDCWD, "/dev/pts", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);

	if (pts < 0)
		return socker_fail(err, "the host's /dev/pts cannot be copied: %m (Linux 5.10 or newer is needed)");
	read_proc_options(proc_options, sizeof(proc_options));
	if (inside_harden(container->mnt, pts, proc_options, err) < 0)
		return -1;
	return check_mounts(hold_pid, err);
}
