/* SPDX-License-Identifier: Apache-2.0 */
#include "place.h"

#include <string.h>

#include "request.h"

bool place_is_systems(const char *path)
{
	static const char *const trees[] = {"/proc", "/sys",   "/dev",	 "/etc",    "/usr",  "/bin",	"/sbin",
					    "/lib",  "/lib32", "/lib64", "/libx32", "/boot", "/.socker"};
	static const char *const tops[] = {"/",	   "/var", "/run", "/var/run", "/var/lib",
					   "/opt", "/srv", "/mnt", "/home"};

	for (size_t i = 0; i < sizeof(trees) / sizeof(trees[0]); i++) {
		if (path_below(path, trees[i]))
			return true;
	}
	for (size_t i = 0; i < sizeof(tops) / sizeof(tops[0]); i++) {
		if (strcmp(path, tops[i]) == 0)
			return true;
	}
	return false;
}

bool place_is_refused(const char *target, bool device)
{
	static const char *const trees[] = {"/proc", "/sys", "/.socker", "/run/socker"};

	for (size_t i = 0; i < sizeof(trees) / sizeof(trees[0]); i++) {
		if (path_below(target, trees[i]))
			return true;
	}
	if (path_below(target, "/dev"))
		return !device || strcmp(target, "/dev") == 0;
	return strcmp(target, "/") == 0;
}

bool place_misses_cwd(const struct socker_record *record, const struct socker_request *request)
{
	return (record->flags & SOCKER_PLAN_SUBMIT_DIR) && request->cwd[0] == '/' && !place_is_systems(request->cwd) &&
	       !record_place_of(record, request->cwd);
}

bool place_misses_script(const struct socker_record *record, const struct socker_request *request)
{
	return request->script[0] == '/' && !record_place_of(record, request->script);
}

bool place_misses_spool(const struct socker_record *record, const struct socker_request *request)
{
	return request->spool[0] == '/' && !record_place_of(record, request->spool);
}

bool place_misses_prolog(const struct socker_record *record, const struct socker_request *request)
{
	const struct record_place *place = record_place_of(record, request->prolog);

	/* the site's own, whatever the user mounted there */
	return request->prolog[0] == '/' && (!place || place->other || place->error);
}

bool place_covers(const struct socker_record *record, const struct socker_request *request)
{
	return !place_misses_cwd(record, request) && !place_misses_script(record, request) &&
	       !place_misses_spool(record, request) && !place_misses_prolog(record, request);
}
