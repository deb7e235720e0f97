/* SPDX-License-Identifier: Apache-2.0 */
#include "mounts.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>

#include "inside.h"
#include "mountapi.h"
#include "place.h"
#include "scope.h"
#include "source.h"

void mounts_release(struct mounts *mounts)
{
	for (uint32_t i = 0; i < mounts->count; i++)
		scope_close(&mounts->list[i].tree);
	mounts->count = 0;
}

int mounts_add(struct mounts *mounts, const struct socker_request *request, const char *source, uint32_t base,
	       const char *target, uint32_t flags, struct socker_error *err)
{
	bool asked = flags & SOCKER_MOUNT_ASKED;
	uint32_t index = mounts->count;

	if (index == SOCKER_MOUNTS_MAX)
		return socker_fail(err, "more than %d mounts", SOCKER_MOUNTS_MAX);
	if (strlen(target) >= SOCKER_PATH_SIZE)
		return socker_fail(err, "the path of a mount is too long");
	memset(&mounts->list[index], 0, sizeof(mounts->list[index]));
	strcpy(mounts->list[index].path, target);
	mounts->list[index].flags = flags;
	mounts->list[index].tree = -1;
	mounts->list[index].other = (flags & SOCKER_MOUNT_TMPFS) || strcmp(source, target) != 0;
	mounts->count++;
	if (asked && place_is_refused(target, flags & SOCKER_MOUNT_DEVICE))
		return socker_fail(err, "nothing can be mounted at %.600s in a container; choose another target",
				   target);
	if (!asked && place_is_systems(target)) {
		mounts->list[index].error = EPERM;
		return 0;
	}
	mounts->list[index].tree = source_open(request, source, base, flags, &mounts->list[index].file);
	if (mounts->list[index].tree >= 0)
		return 0;
	mounts->list[index].error = errno;
	if (errno == ENOSYS)
		return socker_fail(err, "%.600s cannot be mounted on this node: Linux 5.12 or newer is needed", source);
	if (!asked)
		return 0;
	if (flags & SOCKER_MOUNT_TMPFS)
		return socker_fail(err, "no tmpfs can be made for %.600s: %s", target, strerror(errno));
	if (errno == EXDEV)
		return socker_fail(err, "%.600s cannot be mounted: a link in it leads out of what policy allows",
				   source);
	if (errno == EBUSY)
		return socker_fail(
			err,
			"%.600s cannot be mounted with bind: something is mounted below it, and what that hides "
			"would be seen; leave bind out",
			source);
	if (errno == ENOTBLK)
		return socker_fail(err, "%.600s cannot be mounted: it is neither a file nor a directory", source);
	return socker_fail(err, "%.600s cannot be mounted: %s", source, strerror(mounts->list[index].error));
}

/* The place of the record that has this very path and failed; else a new one. NULL: there is no room. */
static struct record_place *place_for(struct socker_record *record, const char *path)
{
	for (uint32_t i = 0; i < record->place_count; i++) {
		if (record->places[i].error && strcmp(record->text + record->places[i].path, path) == 0)
			return &record->places[i];
	}
	return record->place_count < RECORD_PLACES_MAX ? &record->places[record->place_count] : NULL;
}

/* All in one visit, which is what a mount costs. */
static void attach_trees(struct mounts *mounts, const struct container *container)
{
	struct inside_mount list[SOCKER_MOUNTS_MAX];
	uint32_t count = 0;

	for (uint32_t i = 0; i < mounts->count; i++) {
		if (mounts->list[i].tree >= 0)
			list[count++] = (struct inside_mount){
				.tree = mounts->list[i].tree,
				.target = mounts->list[i].path,
				.file = mounts->list[i].file,
				.over_lent = mounts->list[i].flags & SOCKER_MOUNT_ASKED,
			};
	}
	inside_attach_all(container->mnt, list, count);
	count = 0;
	for (uint32_t i = 0; i < mounts->count; i++) {
		if (mounts->list[i].tree >= 0)
			mounts->list[i].error = list[count++].error;
	}
}

int mounts_attach(struct mounts *mounts, const struct container *container, struct socker_record *record, bool planned,
		  struct socker_error *err)
{
	attach_trees(mounts, container);
	for (uint32_t i = 0; i < mounts->count; i++) {
		const char *path = mounts->list[i].path;
		struct record_place *place = place_for(record, path);

		if (!place)
			return socker_fail(err, "more than %d directories of the host in one container",
					   RECORD_PLACES_MAX);
		if (mounts->list[i].error && (mounts->list[i].flags & SOCKER_MOUNT_ASKED))
			return socker_fail(err, "nothing can be mounted at %.600s in this container: %s", path,
					   strerror(mounts->list[i].error));
		if (place == &record->places[record->place_count]) {
			*place = (struct record_place){
				.path = record_add_text(record, path),
				.planned = planned,
				.other = (uint32_t)mounts->list[i].other,
			};
			record->place_count++;
		}
		place->error = mounts->list[i].error;
		if (!place->path)
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

/* Read-only, as a user has it outside. A container without it is none that tasks could not run in. */
static void show_cgroups(const struct container *container)
{
	struct mount_attr attr = {
		.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC,
		.propagation = MS_PRIVATE,
	};
	autofd tree = open_tree_raw(AT_FDCWD, "/sys/fs/cgroup", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
	int error = tree < 0 || mount_setattr_raw(tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr) < 0
			    ? errno
			    : inside_show_cgroups(container->mnt, tree);

	if (error)
		syslog(LOG_DEBUG, "the step's cgroups are not shown in the container: %s", strerror(error));
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
	show_cgroups(container);
	return check_mounts(hold_pid, err);
}
