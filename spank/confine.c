/* SPDX-License-Identifier: Apache-2.0 */
#include "confine.h"

#include <errno.h>
#include <linux/capability.h>
#include <linux/prctl.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "seccomp.h"

struct capabilities {
	uint64_t effective, permitted, inheritable;
};

static int capabilities_set(const struct capabilities *set)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2];

	for (int i = 0; i < 2; i++)
		data[i] = (struct __user_cap_data_struct){
			.effective = (uint32_t)(set->effective >> (32 * i)),
			.permitted = (uint32_t)(set->permitted >> (32 * i)),
			.inheritable = (uint32_t)(set->inheritable >> (32 * i)),
		};
	return (int)syscall(SYS_capset, &header, data);
}

static int capabilities_get(struct capabilities *set)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2];

	if (syscall(SYS_capget, &header, data) < 0)
		return -1;
	*set = (struct capabilities){
		.effective = data[0].effective | (uint64_t)data[1].effective << 32,
		.permitted = data[0].permitted | (uint64_t)data[1].permitted << 32,
		.inheritable = data[0].inheritable | (uint64_t)data[1].inheritable << 32,
	};
	return 0;
}

int confine_keep(struct socker_error *err)
{
	if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0 || prctl(PR_GET_KEEPCAPS, 0, 0, 0, 0) != 1)
		return socker_fail(err, "no capabilities can be kept for the join: %m");
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return socker_fail(err, "the task cannot be made undumpable: %m");
	return 0;
}

int confine_narrow(struct socker_error *err)
{
	const uint64_t needed = 1ULL << CAP_SYS_ADMIN | 1ULL << CAP_SYS_CHROOT | 1ULL << CAP_SETPCAP;

	/* slurmstepd made itself dumpable again while it became the user */
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 || prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 0)
		return socker_fail(err, "the task cannot be made undumpable: %m");
	if (capabilities_set(&(struct capabilities){.effective = needed, .permitted = needed}) < 0)
		return socker_fail(err, "the capabilities for the join were lost: %m");
	return 0;
}

static int drop_bounding_set(struct socker_error *err)
{
	/* EINVAL is for the first number that is no capability of this kernel; confine_verify looks again */
	for (int capability = 0; prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0; capability++)
		;
	return errno == EINVAL ? 0 : socker_fail(err, "the bounding set cannot be emptied: %m");
}

static int set_label(const char *label, int attr, struct socker_error *err)
{
	char text[RECORD_LABEL_SIZE + 8];
	int length = snprintf(text, sizeof(text), "exec %s", label);

	if (!label[0])
		return 0;
	if (attr < 0 || write(attr, text, (size_t)length) != length)
		return socker_fail(err, "the AppArmor profile %s of the container cannot be taken on: %m", label);
	return 0;
}

int confine_drop(const struct socker_record *record, int attr, struct socker_error *err)
{
	if (drop_bounding_set(err) < 0)
		return -1;
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 || prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0) < 0 ||
	    capabilities_set(&(struct capabilities){0}) < 0)
		return socker_fail(err, "the capabilities cannot be dropped: %m");
	if (set_label(record->label, attr, err) < 0)
		return -1;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return socker_fail(err, "no_new_privs cannot be set: %m");
	return seccomp_install(record, err);
}

static int verify_ids(const struct socker_request *request, struct socker_error *err)
{
	uid_t uid[3];
	gid_t gid[3];

	if (getresuid(uid, uid + 1, uid + 2) < 0 || getresgid(gid, gid + 1, gid + 2) < 0)
		return socker_fail(err, "the task's ids cannot be read: %m");
	for (int i = 0; i < 3; i++) {
		if (uid[i] != request->uid || gid[i] != request->gid)
			return socker_fail(err, "the task is not the user");
	}
	return 0;
}

static bool has_group(const uint32_t *groups, uint32_t count, uint32_t group)
{
	for (uint32_t i = 0; i < count; i++) {
		if (groups[i] == group)
			return true;
	}
	return false;
}

/* The same set of groups; the kernel sorts its list, and either may have one twice. */
static int verify_groups(const struct socker_request *request, struct socker_error *err)
{
	gid_t groups[SOCKER_GROUPS_MAX];
	int count = getgroups(SOCKER_GROUPS_MAX, groups);
	bool same = count >= 0;

	for (int i = 0; same && i < count; i++)
		same = has_group(request->groups, request->group_count, groups[i]);
	for (uint32_t i = 0; same && i < request->group_count; i++)
		same = has_group(groups, (uint32_t)count, request->groups[i]);
	return same ? 0 : socker_fail(err, "the task has other groups than the job");
}

int confine_verify(const struct socker_request *request, struct socker_error *err)
{
	struct capabilities set;

	if (verify_ids(request, err) < 0 || verify_groups(request, err) < 0)
		return -1;
	if (capabilities_get(&set) < 0 || set.effective || set.permitted || set.inheritable)
		return socker_fail(err, "the task has kept a capability");
	/* the kernel keeps the ambient set within the permitted and inheritable ones, which are empty */
	for (int capability = 0, bound = 0; bound >= 0; capability++) {
		bound = prctl(PR_CAPBSET_READ, capability, 0, 0, 0);
		if (bound > 0)
			return socker_fail(err, "capability %d is still in the task's bounding set", capability);
	}
	if (prctl(PR_GET_SECUREBITS, 0, 0, 0, 0) != 0)
		return socker_fail(err, "the task has secure bits set");
	if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
		return socker_fail(err, "the task has no no_new_privs");
	/* 2: SECCOMP_MODE_FILTER */
	if (prctl(PR_GET_SECCOMP, 0, 0, 0, 0) != 2)
		return socker_fail(err, "the task has no seccomp filter");
	return 0;
}
