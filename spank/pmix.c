/* SPDX-License-Identifier: Apache-2.0 */
#include "pmix.h"

#include <slurm/slurm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* slurmstepd's, which has it from slurmd; weak, since it is none of the plugin interface. */
extern slurm_conf_t slurm_conf __attribute__((weak));

/*
 * Slurm's plugin tells the PMIx library by this variable of slurmstepd's own, before user_init. The spool and not the
 * step's directory in it is lent, once for all steps of the job; what a user can reach there is what the user can
 * reach on the host.
 */
void pmix_read_spool(struct socker_request *request)
{
	const char *directory = getenv("PMIX_SERVER_TMPDIR");
	char name[64];
	size_t length;

	if (!directory || directory[0] != '/' || strlen(directory) >= sizeof(request->spool))
		return;
	strcpy(request->spool, directory);
	length = strlen(request->spool);
	while (length > 1 && request->spool[length - 1] == '/')
		request->spool[--length] = '\0';
	snprintf(name, sizeof(name), "/pmix.%u.%u", request->job, request->step);
	if (length > strlen(name) && strcmp(request->spool + length - strlen(name), name) == 0)
		request->spool[length - strlen(name)] = '\0';
}

/* TmpFS of slurm.conf, with the node's name for %n. */
static void read_base(spank_t sp, const struct socker_request *request, char base[SOCKER_PATH_SIZE])
{
	const char *configured = &slurm_conf && slurm_conf.tmp_fs ? slurm_conf.tmp_fs : "/tmp";
	const char *node = strstr(configured, "%n");

	if (spank_getenv(sp, "SLURM_PMIXP_TMPDIR_BASE", base, SOCKER_PATH_SIZE) == ESPANK_SUCCESS)
		return;
	if (node)
		snprintf(base, SOCKER_PATH_SIZE, "%.*s%s%s", (int)(node - configured), configured, request->node,
			 node + 2);
	else
		snprintf(base, SOCKER_PATH_SIZE, "%s", configured);
}

void pmix_make_directory(spank_t sp, const struct socker_request *request)
{
	char base[SOCKER_PATH_SIZE];
	char path[SOCKER_PATH_SIZE + 64];

	if (!request->spool[0])
		return;
	read_base(sp, request, base);
	snprintf(path, sizeof(path), "%s/spmix_appdir_%u_%u.%u", base, request->uid, request->job, request->step);
	for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		mkdir(path, 0700);
		*slash = '/';
	}
	mkdir(path, 0700);
}
