/* SPDX-License-Identifier: Apache-2.0 */
/* The program socker-opener: takes on root's identity whole, reads its words and its request, does its one verb. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <libgen.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <syslog.h>
#include <unistd.h>

#include "cgroup.h"
#include "closer.h"
#include "opener.h"
#include "outcome.h"
#include "request.h"
#include "saver.h"
#include "syscalls.h"

char opener_libdir[SOCKER_PATH_SIZE];

/*
 * slurmstepd starts us between its user's and root's identity: effective uid 0, but the user's group and groups, its
 * umask and its working directory. All of them are set before anything is opened.
 */
static int become_root(struct socker_error *err)
{
	umask(077);
	if (setresuid(0, 0, 0) < 0 || setgroups(0, NULL) < 0 || setresgid(0, 0, 0) < 0 || chdir("/") < 0)
		return socker_fail(err, "socker-opener must be started by root: %m");
	syscall(SYS_close_range, OPENER_LAST + 1, ~0U, 0);
	signal(SIGPIPE, SIG_IGN);
	openlog("socker", LOG_PID, LOG_AUTHPRIV);
	return 0;
}

static int find_libdir(struct socker_error *err)
{
	char path[SOCKER_PATH_SIZE];
	ssize_t size = readlink("/proc/self/exe", path, sizeof(path) - 1);

	if (size <= 0)
		return socker_fail(err, "/proc/self/exe: %m");
	path[size] = '\0';
	snprintf(opener_libdir, sizeof(opener_libdir), "%s", dirname(path));
	return 0;
}

static int read_request(struct socker_request *request, struct socker_error *err)
{
	if (pread(OPENER_REQUEST, request, sizeof(*request), 0) != (ssize_t)sizeof(*request))
		return socker_fail(err, "the opener got no whole request");
	return request_check(request, err);
}

/*
 * The opener goes on as a process that is not slurmstepd's child (launch.h tells why); the one that was started ends.
 * Its descriptors stay with it, so the pipe OPENER_LIFE still closes when the work is done.
 */
static void into_background(void)
{
	pid_t child = fork();

	if (child > 0)
		_exit(0);
	if (child < 0)
		_exit(1);
}

static int run_open(const struct socker_config *config, struct socker_error *err)
{
	static struct socker_request request;
	struct outcome outcome = {.magic = OUTCOME_MAGIC, .verdict = SOCKER_GRANT};

	into_background();
	/* nothing that hangs outside the policy child (a dead file server under a home) holds the lock for ever */
	alarm(2 * config->deadline + 15);
	fcntl(OPENER_LIFE, F_SETFD, FD_CLOEXEC);
	fcntl(OPENER_CANCEL, F_SETFD, FD_CLOEXEC);
	fcntl(OPENER_SPACE, F_SETFD, FD_CLOEXEC);
	fcntl(OPENER_SAVING, F_SETFD, FD_CLOEXEC);
	if (err->text[0] || read_request(&request, err) < 0 || opener_open(config, &request, err) < 0) {
		outcome.verdict = 0;
		memcpy(outcome.message, err->text, sizeof(outcome.message));
		syslog(LOG_NOTICE, "job %u step %u uid %u refused: %s", request.job, request.step, request.uid,
		       err->text);
	}
	cgroup_leave();
	return pwrite(OPENER_OUTCOME, &outcome, sizeof(outcome), 0) == (ssize_t)sizeof(outcome) ? 0 : 1;
}

/* Slurm may end it as it ends the step's tasks: a step that is cancelled now is not saved, and is over at once. */
static int run_save(const struct socker_config *config, struct socker_error *err)
{
	static struct socker_request request;
	struct outcome outcome = {.magic = OUTCOME_MAGIC, .verdict = SOCKER_GRANT};

	alarm(config->save_deadline + SAVER_MARGIN);
	fcntl(OPENER_LIFE, F_SETFD, FD_CLOEXEC);
	if (err->text[0] == '\0' && read_request(&request, err) == 0)
		cgroup_enter_step(request.step);
	if (err->text[0] || saver_save(config, &request, err) < 0) {
		outcome.verdict = 0;
		memcpy(outcome.message, err->text, sizeof(outcome.message));
		syslog(LOG_NOTICE, "job %u step %u uid %u not saved: %s", request.job, request.step, request.uid,
		       err->text);
	}
	return pwrite(OPENER_OUTCOME, &outcome, sizeof(outcome), 0) == (ssize_t)sizeof(outcome) ? 0 : 1;
}

static int run_close(const struct socker_config *config, struct socker_error *err)
{
	static struct socker_request request;

	if (pread(OPENER_REQUEST, &request, sizeof(request), 0) != (ssize_t)sizeof(request) ||
	    request.magic != SOCKER_REQUEST_MAGIC || request.size != sizeof(request))
		return socker_fail(err, "the opener got no whole request");
	return closer_close_job(config, request.node, request.job, err);
}

static int report(const struct socker_error *err)
{
	fprintf(stderr, "socker: %s\n", err->text);
	syslog(LOG_ERR, "%s", err->text);
	return 1;
}

int main(int argc, char *argv[])
{
	struct socker_config config;
	struct socker_error err = {0};
	int words = 2;
	int dry_run;

	if (argc < 2) {
		fprintf(stderr, "usage: socker-opener open|save|close|sweep [--dry-run] [WORD...]\n");
		return 2;
	}
	dry_run = argc > 2 && strcmp(argv[2], "--dry-run") == 0;
	words += dry_run;
	if (become_root(&err) < 0 || find_libdir(&err) < 0 ||
	    config_parse(&config, argc - words, argv + words, &err) < 0)
		return strcmp(argv[1], "open") == 0 ? run_open(&config, &err) : report(&err);
	if (strcmp(argv[1], "open") == 0)
		return run_open(&config, &err);
	if (strcmp(argv[1], "save") == 0)
		return run_save(&config, &err);
	if (strcmp(argv[1], "close") == 0)
		return run_close(&config, &err) < 0 ? report(&err) : 0;
	if (strcmp(argv[1], "sweep") == 0)
		return closer_sweep(&config, dry_run, &err) < 0 ? report(&err) : 0;
	fprintf(stderr, "socker-opener: unknown verb '%s'\n", argv[1]);
	return 2;
}
