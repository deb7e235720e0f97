/* SPDX-License-Identifier: Apache-2.0 */
#include "cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "scope.h"

bool cgroup_job_path(const char *path, char *job, size_t size)
{
	const char *step = strstr(path, "/step_");

	if (path[0] != '/' || !step || step == path || (size_t)(step - path) >= size)
		return false;
	memcpy(job, path, (size_t)(step - path));
	job[step - path] = '\0';
	return true;
}

/* Is name one of the comma-separated words of list? */
static bool list_has(const char *list, const char *name)
{
	size_t length = strlen(name);

	for (const char *word = list; word; word = strchr(word, ',')) {
		word += *word == ',';
		if (strncmp(word, name, length) == 0 && strchr(",\n", word[length]))
			return true;
	}
	return false;
}

/*
 * Where the hierarchy with these controllers ("" for version 2) is mounted, from a line of /proc/self/mountinfo:
 * fields 4 and 5 are root and mount point, after " - " come the type, the source and the super block's options.
 */
static bool mount_matches(char *line, const char *controllers, char *point, size_t size)
{
	char root[512];
	char where[512];
	char type[32];
	char options[512];
	char *tail = strstr(line, " - ");
	char first[256];

	snprintf(first, sizeof(first), "%.*s", (int)strcspn(controllers, ","), controllers);
	if (!tail || sscanf(line, "%*s %*s %*s %511s %511s", root, where) != 2 || strcmp(root, "/") != 0 ||
	    sscanf(tail, " - %31s %*s %511s", type, options) != 2)
		return false;
	if (controllers[0] ? strcmp(type, "cgroup") != 0 || !list_has(options, first) : strcmp(type, "cgroup2") != 0)
		return false;
	return (size_t)snprintf(point, size, "%s", where) < size;
}

static bool find_mount(const char *controllers, char *point, size_t size)
{
	char line[4096];
	autofclose FILE *mounts = fopen("/proc/self/mountinfo", "re");

	while (mounts && fgets(line, sizeof(line), mounts)) {
		if (mount_matches(line, controllers, point, size))
			return true;
	}
	return false;
}

static int write_text(int dir, const char *name, const char *text)
{
	autofd fd = openat(dir, name, O_WRONLY | O_CLOEXEC);
	size_t length = strlen(text);

	return fd >= 0 && write(fd, text, length) == (ssize_t)length ? 0 : -1;
}

/* A new cpuset of version 1 has no cpus and takes no process until it is given some. */
static int inherit_cpuset(int job, int own, const char *name)
{
	char text[4096];
	autofd fd = openat(job, name, O_RDONLY | O_CLOEXEC);
	ssize_t size = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	if (size < 0)
		return errno == ENOENT ? 0 : -1;
	text[size] = '\0';
	return write_text(own, name, text);
}

static int place_in(struct socker_record *record, const char *job_path, int pid, struct socker_error *err)
{
	char path[1600];
	char number[16];
	autofd job = open(job_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	autofd own = -1;

	snprintf(path, sizeof(path), "%s/socker", job_path);
	snprintf(number, sizeof(number), "%d", pid);
	if (job < 0 || (mkdirat(job, "socker", 0755) < 0 && errno != EEXIST))
		return socker_fail(err, "cgroup %s: %m", path);
	if (record->cgroup_count == RECORD_CGROUPS_MAX)
		return socker_fail(err, "more cgroup hierarchies than %d", RECORD_CGROUPS_MAX);
	record->cgroups[record->cgroup_count] = record_add_text(record, path);
	if (!record->cgroups[record->cgroup_count++])
		return socker_fail(err, "the record is full");
	own = openat(job, "socker", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (own < 0 || inherit_cpuset(job, own, "cpuset.cpus") < 0 || inherit_cpuset(job, own, "cpuset.mems") < 0 ||
	    write_text(own, "cgroup.procs", number) < 0)
		return socker_fail(err, "the hold process cannot be put into cgroup %s: %m", path);
	return 0;
}

int cgroup_place(struct socker_record *record, int pid, struct socker_error *err)
{
	char line[2048];
	autofclose FILE *own = fopen("/proc/self/cgroup", "re");

	if (!own)
		return socker_fail(err, "/proc/self/cgroup: %m");
	while (fgets(line, sizeof(line), own)) {
		char *controllers = strchr(line, ':');
		char *path = controllers ? strchr(controllers + 1, ':') : NULL;
		char job[1024];
		char point[512];
		char full[1536];

		if (!path)
			continue;
		line[strcspn(line, "\n")] = '\0';
		*path++ = '\0';
		if (!cgroup_job_path(path, job, sizeof(job)))
			continue;
		if (!find_mount(controllers + 1, point, sizeof(point)))
			return socker_fail(err, "cgroup hierarchy '%s' is not mounted", controllers + 1);
		snprintf(full, sizeof(full), "%s%s", point, job);
		if (place_in(record, full, pid, err) < 0)
			return -1;
	}
	return 0;
}

/* Slurm could not remove the job's directory while ours was in it and does not try again; so we do, if it is empty. */
static void remove_upwards(char *path)
{
	for (int attempt = 0; attempt < 100 && rmdir(path) < 0 && errno == EBUSY; attempt++)
		nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
	for (int level = 0; level < 2; level++) {
		const char *name;
		char *slash = strrchr(path, '/');

		if (!slash)
			return;
		*slash = '\0';
		name = strrchr(path, '/');
		/* the job's directory, and in version 1 the user's; nothing above them is per job */
		if (!name || (level == 1 && strncmp(name, "/uid_", 5) != 0) || rmdir(path) < 0)
			return;
	}
}

void cgroup_remove(const struct socker_record *record)
{
	for (uint32_t i = 0; i < record->cgroup_count; i++) {
		autofree char *path = strdup(record->text + record->cgroups[i]);

		if (path)
			remove_upwards(path);
	}
}
