/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stands in for socker-opener beside the module. What it does is the first word of the policy= word it is given, so
 * that the plugin passes it on as it passes the administrator's: policy=/fake/BEHAVIOUR[/ARGUMENT].
 */
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "outcome.h"

static void answer_with(uint32_t magic, uint32_t verdict, const char *message)
{
	struct outcome outcome = {.magic = magic, .verdict = verdict};

	snprintf(outcome.message, sizeof(outcome.message), "%s", message);
	if (pwrite(OPENER_OUTCOME, &outcome, sizeof(outcome), 0) != (ssize_t)sizeof(outcome))
		_exit(3);
}

static void answer(uint32_t verdict, const char *message)
{
	answer_with(OUTCOME_MAGIC, verdict, message);
}

/* What slurmstepd gave it, as the message of a refusal. */
static void report(int argc, char *argv[])
{
	static struct socker_request request;
	char text[SOCKER_MESSAGE_SIZE];
	char descriptors[256] = "";
	sigset_t mask;
	int blocked = 0;
	DIR *list = opendir("/proc/self/fd");
	struct dirent *entry;

	while (list && (entry = readdir(list))) {
		int fd = atoi(entry->d_name);

		if (entry->d_name[0] != '.' && fd != dirfd(list))
			snprintf(descriptors + strlen(descriptors), sizeof(descriptors) - strlen(descriptors), "%d,",
				 fd);
	}
	sigprocmask(SIG_SETMASK, NULL, &mask);
	for (int number = 1; number < 32; number++)
		blocked += sigismember(&mask, number) == 1;
	if (pread(OPENER_REQUEST, &request, sizeof(request), 0) != (ssize_t)sizeof(request))
		_exit(4);
	snprintf(text, sizeof(text), "verb=%s words=%d euid=%d uid=%d environment=%d blocked=%d descriptors=%s job=%u",
		 argv[1], argc - 2, geteuid(), getuid(), environ[0] != NULL, blocked, descriptors, request.job);
	answer(0, text);
}

/* Gives the record that the test has prepared as ARGUMENT.ready its name. */
static void publish(const char *record)
{
	char ready[SOCKER_PATH_SIZE];

	snprintf(ready, sizeof(ready), "%s.ready", record);
	if (rename(ready, record) < 0)
		_exit(5);
	answer(SOCKER_GRANT, "");
}

static void serve(const char *behaviour, const char *argument, int argc, char *argv[])
{
	char byte;

	if (strcmp(behaviour, "grant") == 0)
		answer(SOCKER_GRANT, "");
	else if (strcmp(behaviour, "refuse") == 0)
		answer(0, argument + 1);
	else if (strcmp(behaviour, "speechless") == 0)
		answer(0, "");
	else if (strcmp(behaviour, "foreign") == 0)
		answer_with(SOCKER_PLAN_MAGIC, SOCKER_GRANT, "");
	else if (strcmp(behaviour, "publish") == 0)
		publish(argument);
	else if (strcmp(behaviour, "report") == 0)
		report(argc, argv);
	else if (strcmp(behaviour, "short") == 0)
		_exit(write(OPENER_OUTCOME, "short", 5) == 5 ? 0 : 3);
	else if (strcmp(behaviour, "slow") == 0 && nanosleep(&(struct timespec){.tv_nsec = 300000000}, NULL) == 0)
		answer(SOCKER_GRANT, "");
	else if (strcmp(behaviour, "wait") == 0)
		/* until a cancelled task tells it to end */
		_exit(read(OPENER_CANCEL, &byte, 1) == 1 ? 0 : 3);
	else if (strcmp(behaviour, "hang") == 0)
		pause();
	else
		_exit(9);
	_exit(0);
}

int main(int argc, char *argv[])
{
	char behaviour[32] = "";
	const char *argument = "";

	for (int i = 2; i < argc; i++) {
		if (sscanf(argv[i], "policy=/fake/%31[a-z]", behaviour) == 1)
			argument = argv[i] + strlen("policy=/fake/") + strlen(behaviour);
	}
	if (strcmp(behaviour, "fail") == 0)
		return 7;
	if (argc > 1 && strcmp(argv[1], "open") == 0) {
		pid_t child = fork();

		if (child != 0)
			return child < 0;
	}
	serve(behaviour, argument, argc, argv);
}
