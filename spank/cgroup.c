/* SPDX-License-Identifier: Apache-2.0 */
#include "cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <slurm/slurm.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

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

/* Makes our directory in the job's and moves pid into it. */
static int make_and_enter(int job, int pid)
{
	char number[16];
	autofd own = -1;

	snprintf(number, sizeof(number), "%d", pid);
	if (mkdirat(job, "socker", 0755) < 0 && errno != EEXIST)
		return -1;
	own = openat(job, "socker", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (own < 0 || inherit_cpuset(job, own, "cpuset.cpus") < 0 || inherit_cpuset(job, own, "cpuset.mems") < 0)
		return -1;
	return write_text(own, "cgroup.procs", number);
}

static int place_in(struct socker_record *record, const char *job_path, int pid, struct socker_error *err)
{
	char path[1600];
	autofd job = open(job_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int entered = -1;

	snprintf(path, sizeof(path), "%s/socker", job_path);
	if (record->cgroup_count == RECORD_CGROUPS_MAX)
		return socker_fail(err, "more cgroup hierarchies than %d", RECORD_CGROUPS_MAX);
	record->cgroups[record->cgroup_count] = record_add_text(record, path);
	if (!record->cgroups[record->cgroup_count++])
		return socker_fail(err, "the record is full");
	/* a sweep may remove it while it is empty */
	for (int attempt = 0; job >= 0 && entered < 0 && attempt < 3; attempt++)
		entered = make_and_enter(job, pid);
	return entered < 0 ? socker_fail(err, "the hold process cannot be put into cgroup %s: %m", path) : 0;
}

/* The job's path, which is the same in every hierarchy; slurmstepd's own processes are below it in some of them. */
static bool find_job_path(char *job, size_t size)
{
	char line[2048];
	autofclose FILE *own = fopen("/proc/self/cgroup", "re");

	while (own && fgets(line, sizeof(line), own)) {
		char *controllers = strchr(line, ':');
		char *path = controllers ? strchr(controllers + 1, ':') : NULL;

		line[strcspn(line, "\n")] = '\0';
		if (path && cgroup_job_path(path + 1, job, size))
			return true;
	}
	return false;
}

/* The mount point of a whole cgroup hierarchy, of either version, from a line of mountinfo. */
static bool hierarchy_of(char *line, char *point, size_t size)
{
	char root[512];
	char where[512];
	const char *tail = strstr(line, " - ");

	return tail && (strncmp(tail, " - cgroup ", 10) == 0 || strncmp(tail, " - cgroup2 ", 11) == 0) &&
	       sscanf(line, "%*s %*s %*s %511s %511s", root, where) == 2 && strcmp(root, "/") == 0 &&
	       (size_t)snprintf(point, size, "%s", where) < size;
}

int cgroup_place(struct socker_record *record, int pid, struct socker_error *err)
{
	char line[4096];
	char job[1024];
	autofclose FILE *mounts = fopen("/proc/self/mountinfo", "re");

	if (!mounts)
		return socker_fail(err, "/proc/self/mountinfo: %m");
	if (!find_job_path(job, sizeof(job)))
		return 0;
	while (fgets(line, sizeof(line), mounts)) {
		char point[512];
		char full[1536];

		if (!hierarchy_of(line, point, sizeof(point)))
			continue;
		snprintf(full, sizeof(full), "%s%s", point, job);
		if (access(full, F_OK) == 0 && place_in(record, full, pid, err) < 0)
			return -1;
	}
	return 0;
}

/* Whether a process is listed in a cgroup: one that has ended is not, though its cgroup is busy for a moment more. */
static bool has_processes(const char *path)
{
	char name[1600];
	char first;
	autofd fd = -1;

	snprintf(name, sizeof(name), "%s/cgroup.procs", path);
	fd = open(name, O_RDONLY | O_CLOEXEC);
	return fd >= 0 && read(fd, &first, 1) == 1;
}

/* Slurm could not remove the job's directory while ours was in it and does not try again; so we do, if it is empty. */
static void remove_upwards(char *path)
{
	/* another container of the job keeps it */
	for (int attempt = 0; attempt < 100 && rmdir(path) < 0 && errno == EBUSY && !has_processes(path); attempt++)
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

static void sweep_pattern(const char *point, const char *pattern)
{
	char full[1024];
	glob_t found = {0};

	snprintf(full, sizeof(full), "%s/%s", point, pattern);
	if (glob(full, GLOB_NOSORT, NULL, &found) != 0)
		return;
	for (size_t i = 0; i < found.gl_pathc; i++) {
		/* one that an opener has just made may go, too: place_in makes it again */
		if (!has_processes(found.gl_pathv[i]))
			remove_upwards(found.gl_pathv[i]);
	}
	globfree(&found);
}

void cgroup_sweep(void)
{
	char line[4096];
	autofclose FILE *mounts = fopen("/proc/self/mountinfo", "re");

	while (mounts && fgets(line, sizeof(line), mounts)) {
		char point[512];

		if (!hierarchy_of(line, point, sizeof(point)))
			continue;
		sweep_pattern(point, "slurm*/uid_*/job_*/socker");
		sweep_pattern(point, "system.slice/*slurmstepd.scope/*/socker");
	}
}

static void step_dir(uint32_t step, char *name, size_t size)
{
	if (step == SLURM_BATCH_SCRIPT)
		snprintf(name, size, "step_batch");
	else if (step == SLURM_INTERACTIVE_STEP)
		snprintf(name, size, "step_interactive");
	else
		snprintf(name, size, "step_%u", step);
}

/* Where Slurm looks for the step's processes in one hierarchy; own is the path of slurmstepd's in it. */
static bool kill_path(const char *own, uint32_t step, char *path, size_t size)
{
	const char *last = strrchr(own, '/');
	char name[32];

	step_dir(step, name, sizeof(name));
	if (last && strncmp(last, "/job_", 5) == 0)
		return (size_t)snprintf(path, size, "%s/%s", own, name) < size;
	if (last && last != own && strcmp(last, "/slurm") == 0)
		return (size_t)snprintf(path, size, "%.*s/user/task_special", (int)(last - own), own) < size;
	return false;
}

static void enter(const char *line, const char *path)
{
	char copy[4096];
	char point[512];
	char full[2560];
	char number[16];
	autofd dir = -1;

	snprintf(copy, sizeof(copy), "%s", line);
	if (!hierarchy_of(copy, point, sizeof(point)))
		return;
	snprintf(full, sizeof(full), "%s%s", point, path);
	snprintf(number, sizeof(number), "%d", getpid());
	dir = open(full, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dir >= 0 && write_text(dir, "cgroup.procs", number) < 0)
		syslog(LOG_DEBUG, "%s: %m", full);
}

void cgroup_enter_step(uint32_t step)
{
	char line[4096];
	char path[2048];
	bool found = false;
	autofclose FILE *own = fopen("/proc/self/cgroup", "re");
	autofclose FILE *mounts = fopen("/proc/self/mountinfo", "re");

	while (own && !found && fgets(line, sizeof(line), own)) {
		char *controllers = strchr(line, ':');
		char *place = controllers ? strchr(controllers + 1, ':') : NULL;

		line[strcspn(line, "\n")] = '\0';
		found = place && kill_path(place + 1, step, path, sizeof(path));
	}
	while (found && mounts && fgets(line, sizeof(line), mounts))
		enter(line, path);
}

void cgroup_leave(void)
{
	char line[4096];
	char job[1024];
	char number[16];
	autofclose FILE *mounts = fopen("/proc/self/mountinfo", "re");

	snprintf(number, sizeof(number), "%d", getpid());
	if (!find_job_path(job, sizeof(job)))
		return;
	while (mounts && fgets(line, sizeof(line), mounts)) {
		char point[512];
		autofd top = -1;

		if (!hierarchy_of(line, point, sizeof(point)))
			continue;
		top = open(point, O_PATH | O_DIRECTORY | O_CLOEXEC);
		/* where it does not go, Slurm's directory may stay behind; nothing worse */
		if (top >= 0 && write_text(top, "cgroup.procs", number) < 0)
			continue;
	}
}
