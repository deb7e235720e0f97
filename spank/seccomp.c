/* SPDX-License-Identifier: Apache-2.0 */
#include "seccomp.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/ptrace.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "condense.h"
#include "scope.h"
#include "trust.h"

/* glibc's <sys/ptrace.h> and the kernel's cannot be included together; the call is made directly. */
static long ptrace_raw(long request, int pid, unsigned long address, void *data)
{
	return syscall(SYS_ptrace, request, pid, address, data);
}

static int copy_one(struct socker_record *record, int pid, unsigned long index, struct socker_error *err)
{
	struct seccomp_metadata metadata = {.filter_off = index};
	struct record_filter *filter = &record->filters[record->filter_count];
	uint32_t first = index ? filter[-1].first + filter[-1].count : 0;
	long count = ptrace_raw(PTRACE_SECCOMP_GET_FILTER, pid, index, NULL);

	if (count < 0)
		return errno == ENOENT ? 0 : socker_fail(err, "the container's seccomp filter cannot be read: %m");
	if (record->filter_count == RECORD_FILTERS_MAX || count == 0 ||
	    first + (unsigned long)count > RECORD_INSTRUCTIONS_MAX)
		return socker_fail(err, "the container's seccomp filters are too many or too long");
	if (ptrace_raw(PTRACE_SECCOMP_GET_FILTER, pid, index, record->instructions + first) != count)
		return socker_fail(err, "the container's seccomp filter changed while it was read");
	if (ptrace_raw(PTRACE_SECCOMP_GET_METADATA, pid, sizeof(metadata), &metadata) < 0)
		return socker_fail(err, "the container's seccomp flags cannot be read: %m");
	/* of the flags only LOG is kept by the kernel; SPEC_ALLOW is what runc sets and cannot be read back */
	*filter = (struct record_filter){
		.flags = (uint32_t)metadata.flags | SECCOMP_FILTER_FLAG_SPEC_ALLOW,
		.first = first,
		.count = (uint32_t)count,
	};
	record->filter_count++;
	return 1;
}

int seccomp_copy(struct socker_record *record, int pid, struct socker_error *err)
{
	int status;
	int more = 1;

	record->filter_count = 0;
	if (ptrace_raw(PTRACE_SEIZE, pid, 0, NULL) < 0)
		return socker_fail(err, "the hold process cannot be looked at: ptrace: %m");
	if (ptrace_raw(PTRACE_INTERRUPT, pid, 0, NULL) < 0 || waitpid(pid, &status, __WALL) != pid ||
	    !WIFSTOPPED(status))
		return socker_fail(err, "the hold process cannot be stopped: ptrace: %m");
	/* index 0 is the oldest filter */
	for (unsigned long index = 0; more == 1; index++)
		more = copy_one(record, pid, index, err);
	if (ptrace_raw(PTRACE_DETACH, pid, 0, NULL) < 0)
		return socker_fail(err, "the hold process cannot be let go: ptrace: %m");
	if (more < 0)
		return -1;
	if (record->filter_count == 0)
		return socker_fail(err, "Docker runs containers without a seccomp filter on this node");
	return 0;
}

/* Another number for each change of what condensing does: what an older release has kept is not used. */
#define CONDENSED_MAGIC 0x736b6302

/* A filter and its condensed form, as a file in the directory for records. */
struct condensed {
	uint32_t magic;
	uint32_t in_count, out_count;
	struct sock_filter in[BPF_MAXINSNS];
	struct sock_filter out[BPF_MAXINSNS];
};

static bool load_condensed(struct condensed *found, int dir, const char *name, const struct sock_filter *in,
			   uint32_t count)
{
	struct stat status;
	autofd fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);

	return fd >= 0 && fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && status.st_uid == 0 &&
	       !(status.st_mode & 077) && read(fd, found, sizeof(*found)) == (ssize_t)sizeof(*found) &&
	       found->magic == CONDENSED_MAGIC && found->in_count == count && found->out_count <= count &&
	       memcmp(found->in, in, count * sizeof(*in)) == 0;
}

/* A file that cannot be kept costs time at the next container, nothing else. */
static void keep_condensed(const struct condensed *made, int dir, const char *name)
{
	char new_name[32];
	autofd fd = -1;

	snprintf(new_name, sizeof(new_name), "%s.%d", name, getpid());
	fd = openat(dir, new_name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return;
	if (write(fd, made, sizeof(*made)) != (ssize_t)sizeof(*made) || renameat(dir, new_name, dir, name) < 0)
		unlinkat(dir, new_name, 0);
}

void seccomp_condense(struct socker_record *record, const char *state)
{
	struct socker_error ignored = {0};
	autofree struct condensed *condensed = calloc(1, sizeof(*condensed));
	autofd dir = trust_open_dir(state, &ignored);

	for (uint32_t i = 0; condensed && dir >= 0 && i < record->filter_count; i++) {
		struct record_filter *filter = &record->filters[i];
		struct sock_filter *in = record->instructions + filter->first;
		char name[16];

		snprintf(name, sizeof(name), "filter-%u", i);
		if (filter->count > BPF_MAXINSNS)
			continue;
		if (!load_condensed(condensed, dir, name, in, filter->count)) {
			memcpy(condensed->in, in, filter->count * sizeof(*in));
			condensed->magic = CONDENSED_MAGIC;
			condensed->in_count = filter->count;
			condensed->out_count = condense_filter(in, filter->count, condensed->out, BPF_MAXINSNS);
			keep_condensed(condensed, dir, name);
		}
		if (!condensed->out_count)
			continue;
		memcpy(in, condensed->out, condensed->out_count * sizeof(*in));
		filter->count = condensed->out_count;
	}
}

int seccomp_install(const struct socker_record *record, struct socker_error *err)
{
	for (uint32_t i = 0; i < record->filter_count; i++) {
		const struct record_filter *filter = &record->filters[i];
		struct sock_fprog program = {
			.len = (unsigned short)filter->count,
			.filter = (struct sock_filter *)record->instructions + filter->first,
		};

		if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, filter->flags, &program) < 0)
			return socker_fail(err, "the seccomp filter cannot be installed: %m");
	}
	return 0;
}
