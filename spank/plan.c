/* SPDX-License-Identifier: Apache-2.0 */
#include "plan.h"

#include <stdbool.h>
#include <string.h>

#include "request.h"

static bool text_at(const struct socker_plan *plan, uint32_t offset)
{
	return offset < plan->text_size && memchr(plan->text + offset, '\0', plan->text_size - offset) != NULL;
}

/* Absolute, no empty, "." or ".." component. */
static bool path_is_plain(const char *path)
{
	if (path[0] != '/' || strlen(path) >= SOCKER_PATH_SIZE)
		return false;
	for (const char *part = path; part; part = strchr(part + 1, '/')) {
		size_t length = strcspn(part + 1, "/");

		if (path[1] && (length == 0 || (length <= 2 && strspn(part + 1, ".") >= length)))
			return false;
	}
	return true;
}

static bool is_hex(const char *text, size_t length)
{
	return text[length] == '\0' && strspn(text, "0123456789abcdef") == length;
}

static bool variable_is_free(const char *variable)
{
	static const char *const owned[] = {"SLURM", "_SLURM", "SPANK_", "SRUN_", "SBATCH_", "SALLOC_", "PMI"};
	const char *value = strchr(variable, '=');

	if (!value || value == variable)
		return false;
	for (size_t i = 0; i < sizeof(owned) / sizeof(owned[0]); i++) {
		if (strncmp(variable, owned[i], strlen(owned[i])) == 0)
			return false;
	}
	return true;
}

static int check_frame(const struct socker_plan *plan, const struct socker_request *request, struct socker_error *err)
{
	if (plan->magic != SOCKER_PLAN_MAGIC || plan->size != sizeof(*plan) || plan->nonce != request->nonce)
		return socker_fail(err, "the policy engine gave no answer to this request");
	if (plan->verdict == SOCKER_PLAIN && !request->reference[0])
		return 0;
	if (plan->verdict != SOCKER_GRANT) {
		char message[SOCKER_MESSAGE_SIZE];

		memcpy(message, plan->message, sizeof(message));
		message[sizeof(message) - 1] = '\0';
		socker_printable(err->text, sizeof(err->text), message);
		return err->text[0] ? -1 : socker_fail(err, "the policy engine refused without a reason");
	}
	if (plan->job != request->job || plan->uid != request->uid || plan->gid != request->gid)
		return socker_fail(err, "the plan is for another job or user");
	return 0;
}

static int check_image(const struct socker_plan *plan, struct socker_error *err)
{
	if (strncmp(plan->digest, "sha256:", 7) != 0 || !is_hex(plan->digest + 7, 64))
		return socker_fail(err, "the plan does not name the image by its digest");
	if (!is_hex(plan->id, 64))
		return socker_fail(err, "the plan has no container id");
	if (plan->hold_pid <= 1)
		return socker_fail(err, "the plan has no hold process");
	return 0;
}

/* Root opens a device node wherever it lies, and layers of images have some; those of the node are below /dev. */
static bool device_is_hosts(const char *source)
{
	return path_below(source, "/dev") && source[strlen("/dev")];
}

static bool mount_is_plain(const struct socker_plan *plan, const struct socker_mount *mount)
{
	static const uint32_t flags = SOCKER_MOUNT_READONLY | SOCKER_MOUNT_TMPFS | SOCKER_MOUNT_ASKED |
				      SOCKER_MOUNT_DEVICE | SOCKER_MOUNT_FLAT;

	return text_at(plan, mount->source) && text_at(plan, mount->target) &&
	       ((mount->flags & SOCKER_MOUNT_TMPFS) || path_is_plain(plan->text + mount->source)) &&
	       (!(mount->flags & SOCKER_MOUNT_DEVICE) || device_is_hosts(plan->text + mount->source)) &&
	       path_is_plain(plan->text + mount->target) && !(mount->flags & ~flags) &&
	       mount->base <= strlen(plan->text + mount->source);
}

/* One that was asked for, and no text but a reference in full. */
static bool save_is_plain(const char *save, const struct socker_request *request)
{
	size_t length = strlen(save);

	return length < SOCKER_REFERENCE_SIZE && strchr(save, '/') && strchr(save, ':') &&
	       strspn(save, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/:[]") == length &&
	       request_saves(request);
}

int plan_check(const struct socker_plan *plan, const struct socker_request *request, struct socker_error *err)
{
	if (check_frame(plan, request, err) < 0)
		return -1;
	if (plan->verdict == SOCKER_PLAIN)
		return 0;
	if (check_image(plan, err) < 0)
		return -1;
	if (plan->flags & ~(uint32_t)(SOCKER_PLAN_READONLY | SOCKER_PLAN_SUBMIT_DIR | SOCKER_PLAN_NET |
				      SOCKER_PLAN_IPC | SOCKER_PLAN_UTS))
		return socker_fail(err, "the plan has an unknown flag");
	if (plan->text_size > SOCKER_TEXT_SIZE || plan->mount_count > SOCKER_MOUNTS_MAX ||
	    plan->env_count > SOCKER_ENV_MAX || plan->entry_count > SOCKER_ENTRY_MAX ||
	    plan->unset_count > SOCKER_UNSET_MAX)
		return socker_fail(err, "the plan is out of bounds");
	if (!text_at(plan, plan->workdir) || !path_is_plain(plan->text + plan->workdir))
		return socker_fail(err, "the plan's working directory is not a plain absolute path");
	if (!text_at(plan, plan->passwd) || !text_at(plan, plan->group))
		return socker_fail(err, "the plan's accounts are malformed");
	if (plan->save && (!text_at(plan, plan->save) || !save_is_plain(plan->text + plan->save, request)))
		return socker_fail(err, "the plan's image to save is malformed or was not asked for");
	for (uint32_t i = 0; i < plan->entry_count; i++) {
		if (!text_at(plan, plan->entry[i]))
			return socker_fail(err, "the plan's entry point is malformed");
	}
	for (uint32_t i = 0; i < plan->unset_count; i++) {
		if (!text_at(plan, plan->unset[i]))
			return socker_fail(err, "the plan's variables are malformed");
	}
	for (uint32_t i = 0; i < plan->mount_count; i++) {
		if (!mount_is_plain(plan, &plan->mounts[i]))
			return socker_fail(err, "mount %u of the plan is malformed", i);
	}
	for (uint32_t i = 0; i < plan->env_count; i++) {
		if (!text_at(plan, plan->env[i]) || !variable_is_free(plan->text + plan->env[i]))
			return socker_fail(err, "environment entry %u of the plan is malformed or Slurm's own", i);
	}
	return 0;
}
