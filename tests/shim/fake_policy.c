/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stands in for socker-policy. The verbs that the opener knows are answered from the file that the question names
 * (request.policy, close.slurm_conf), as the real one answers by policy; the others are the behaviours of a broken one.
 */
#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "wire.h"

enum { ANSWER = 2048 };

static int put(const void *value, size_t size)
{
	return pwrite(1, value, size, 0) == (ssize_t)size ? 0 : 4;
}

static int get(const char *path, void *value, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	return fd >= 0 && read(fd, value, size) == (ssize_t)size ? 0 : 5;
}

/* The plan of the file, for this request. */
static int answer_open(void)
{
	static struct socker_request request;
	static struct socker_plan plan;

	if (pread(0, &request, sizeof(request), 0) != (ssize_t)sizeof(request) ||
	    get(request.policy, &plan, sizeof(plan)))
		return 5;
	plan.nonce = request.nonce;
	return put(&plan, sizeof(plan));
}

/* The file holds the answer to keep for each item, as digits: of the verb close, then of the verb sweep. */
static int answer_close(int sweep)
{
	static struct socker_close containers;
	char keep[2 * SOCKER_CLOSE_MAX];

	if (pread(0, &containers, sizeof(containers), 0) != (ssize_t)sizeof(containers) ||
	    get(containers.slurm_conf, keep, sizeof(keep)))
		return 5;
	for (uint32_t i = 0; i < containers.count; i++) {
		containers.items[i].keep = (uint32_t)(keep[i + (sweep ? SOCKER_CLOSE_MAX : 0)] - '0');
		if (!sweep && containers.items[i].keep)
			strcpy(containers.message, "Docker keeps it");
	}
	return put(&containers, sizeof(containers));
}

static const char *status_of(const char *name, char *line, size_t size)
{
	FILE *status = fopen("/proc/self/status", "re");

	while (status && fgets(line, (int)size, status)) {
		if (strncmp(line, name, strlen(name)) == 0)
			return line + strlen(name);
	}
	return "?";
}

/* What the opener gave it, as lines of NAME value. */
static int answer_see(char *argv[])
{
	char text[ANSWER] = "";
	char line[512];
	uid_t uid[3];
	gid_t gid[3];
	gid_t groups[64];
	struct rlimit core;
	int death = 0;
	int descriptors = 0;
	int count = getgroups(64, groups);
	DIR *list = opendir("/proc/self/fd");
	struct dirent *entry;

	while (list && (entry = readdir(list)))
		descriptors += entry->d_name[0] != '.' && atoi(entry->d_name) != dirfd(list);
	getresuid(uid, uid + 1, uid + 2);
	getresgid(gid, gid + 1, gid + 2);
	getrlimit(RLIMIT_CORE, &core);
	prctl(PR_GET_PDEATHSIG, &death);
	snprintf(text, sizeof(text),
		 "uid %u %u %u\ngid %u %u %u\ngroups %d %u\nenvironment %d\ndescriptors %d\ncore %d\ndeath "
		 "%d\nprivileges %d\n"
		 "name %s\ncapabilities %s",
		 uid[0], uid[1], uid[2], gid[0], gid[1], gid[2], count, count > 0 ? groups[0] : 0, environ[0] != NULL,
		 descriptors, (int)core.rlim_max, death, prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), argv[0],
		 status_of("CapPrm:", line, sizeof(line)));
	return put(text, sizeof(text));
}

static int answer_echo(size_t size)
{
	static char bytes[ANSWER + 1];

	if (pread(0, bytes, ANSWER, 0) < 0)
		return 5;
	return put(bytes, size);
}

int main(int argc, char *argv[])
{
	const char *verb = argc == 2 ? argv[1] : "";

	if (strcmp(verb, "open") == 0)
		return answer_open();
	if (strcmp(verb, "close") == 0 || strcmp(verb, "sweep") == 0)
		return answer_close(verb[0] == 's');
	if (strcmp(verb, "see") == 0)
		return answer_see(argv);
	if (strcmp(verb, "echo") == 0)
		return answer_echo(ANSWER);
	if (strcmp(verb, "short") == 0)
		return answer_echo(ANSWER - 1);
	if (strcmp(verb, "long") == 0)
		return answer_echo(ANSWER + 1);
	if (strcmp(verb, "silent") == 0)
		return 0;
	if (strcmp(verb, "hang") == 0)
		pause();
	if (strcmp(verb, "crash") == 0)
		kill(getpid(), SIGSEGV);
	if (strcmp(verb, "traceback") == 0)
		fprintf(stderr,
			"Traceback (most recent call last):\n  File \"x\"\nValueError: bad thing\n\nafterwards\n");
	if (strcmp(verb, "babble") == 0) {
		for (int i = 0; i < 6000; i++)
			fputc('x', stderr);
	}
	if (strcmp(verb, "fail") == 0)
		fprintf(stderr, "no \033[31mred\033[0m daemon\a\n");
	return 1;
}
