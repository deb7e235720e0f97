/* SPDX-License-Identifier: Apache-2.0 */
#include "seccomp.h"

#include <errno.h>
#include <linux/ptrace.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

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
