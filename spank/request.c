/* SPDX-License-Identifier: Apache-2.0 */
#include "request.h"

#include <stdio.h>
#include <string.h>

void request_init(struct socker_request *request)
{
	memset(request, 0, sizeof(*request));
	request->magic = SOCKER_REQUEST_MAGIC;
	request->size = sizeof(*request);
}

static const uint64_t HASH_BEGIN = 0xcbf29ce484222325;

/* FNV-1a, 64 bits. A collision costs a refusal (the record is compared), never somebody else's container. */
static uint64_t hash_bytes(uint64_t hash, const void *bytes, size_t size)
{
	const unsigned char *in = bytes;

	for (size_t i = 0; i < size; i++)
		hash = (hash ^ in[i]) * 0x100000001b3;
	return hash;
}

uint64_t request_hash(const char *text)
{
	return hash_bytes(HASH_BEGIN, text, strlen(text));
}

void request_key(const struct socker_request *request, char key[17])
{
	uint64_t hash = HASH_BEGIN;

	hash = hash_bytes(hash, &request->uid, sizeof(request->uid));
	hash = hash_bytes(hash, request->node, strlen(request->node) + 1);
	if (request->shared[0]) {
		hash = hash_bytes(hash, "name", 5);
		hash = hash_bytes(hash, request->shared, strlen(request->shared) + 1);
	} else {
		hash = hash_bytes(hash, request->reference, strlen(request->reference) + 1);
		hash = hash_bytes(hash, request->options, strlen(request->options) + 1);
	}
	snprintf(key, 17, "%016llx", (unsigned long long)hash);
}

bool request_shares(const struct socker_request *one, const struct socker_request *other)
{
	return one->job == other->job && one->uid == other->uid && one->gid == other->gid &&
	       strcmp(one->node, other->node) == 0 && strcmp(one->shared, other->shared) == 0;
}

static const char *next_line(const char *line)
{
	line += strcspn(line, "\n");
	return *line ? line + 1 : line;
}

/* Whether each line of some is one of all. */
static bool has_lines(const char *all, const char *some)
{
	for (; *some; some = next_line(some)) {
		size_t length = strcspn(some, "\n");
		const char *at = all;

		while (*at && (strcspn(at, "\n") != length || strncmp(at, some, length) != 0))
			at = next_line(at);
		if (!*at)
			return false;
	}
	return true;
}

bool request_fits(const struct socker_request *opened, const struct socker_request *asked)
{
	if (!request_shares(opened, asked) || strcmp(opened->reference, asked->reference) != 0)
		return false;
	return asked->shared[0] ? has_lines(opened->options, asked->options)
				: strcmp(opened->options, asked->options) == 0;
}

bool request_saves(const struct socker_request *request)
{
	for (const char *line = request->options; *line; line = next_line(line)) {
		if (strncmp(line, "save=", 5) == 0)
			return true;
	}
	return false;
}

static bool ended(const char *text, size_t size)
{
	return memchr(text, '\0', size) != NULL;
}

static bool node_is_plain(const char *node)
{
	return node[0] && node[0] != '.' &&
	       node[strspn(node, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")] == '\0';
}

int request_check(const struct socker_request *request, struct socker_error *err)
{
	if (request->magic != SOCKER_REQUEST_MAGIC || request->size != sizeof(*request) ||
	    request->group_count > SOCKER_GROUPS_MAX || !ended(request->reference, sizeof(request->reference)) ||
	    !ended(request->options, sizeof(request->options)) || !ended(request->shared, sizeof(request->shared)) ||
	    !ended(request->slurm_conf, sizeof(request->slurm_conf)) || !ended(request->node, sizeof(request->node)) ||
	    !ended(request->cwd, sizeof(request->cwd)) || !ended(request->script, sizeof(request->script)) ||
	    !ended(request->spool, sizeof(request->spool)) || !ended(request->prolog, sizeof(request->prolog)))
		return socker_fail(err, "malformed request; the plugin and the opener are of different versions");
	if (request->uid == 0 || request->gid == 0)
		return socker_fail(err, "containers do not run as root; submit the job as a normal user");
	if (request->uid > INT32_MAX || request->gid > INT32_MAX)
		return socker_fail(err, "uid %u, gid %u: ids from 2^31 on cannot be used in a container", request->uid,
				   request->gid);
	if (!node_is_plain(request->node))
		return socker_fail(err, "no usable node name in SLURMD_NODENAME");
	return 0;
}

bool path_below(const char *path, const char *base)
{
	size_t length = strlen(base);

	while (length > 1 && base[length - 1] == '/')
		length--;
	if (length == 1 && base[0] == '/')
		return path[0] == '/';
	return strncmp(path, base, length) == 0 && (path[length] == '\0' || path[length] == '/');
}
