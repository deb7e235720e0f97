/* SPDX-License-Identifier: Apache-2.0 */
#include "launch.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "scope.h"

enum { WORDS_MAX = 64, CANCEL_MILLISECONDS = 1000 };

/* The opener lies beside this plugin. */
static int opener_path(char *path, size_t size, struct socker_error *err)
{
	Dl_info self;
	char plugin[SOCKER_PATH_SIZE];

	if (!dladdr((void *)(uintptr_t)opener_path, &self) || !self.dli_fname || self.dli_fname[0] != '/')
		return socker_fail(err, "plugstack line: give the plugin's absolute path");
	snprintf(plugin, sizeof(plugin), "%s", self.dli_fname);
	if ((size_t)snprintf(path, size, "%s/socker-opener", dirname(plugin)) >= size)
		return socker_fail(err, "plugstack line: the plugin's path is too long");
	return 0;
}

/* The opener's descriptors, by their numbers there. */
static int spawn(struct launch *launch, char *const argv[], const int fds[OPENER_LAST + 1], struct socker_error *err)
{
	char *const envp[] = {NULL};
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	sigset_t signals;
	int failed;

	posix_spawn_file_actions_init(&actions);
	posix_spawnattr_init(&attributes);
	for (int number = 0; number <= OPENER_LAST; number++) {
		if (fds[number] >= 0)
			posix_spawn_file_actions_adddup2(&actions, fds[number], number);
	}
	sigemptyset(&signals);
	posix_spawnattr_setsigmask(&attributes, &signals);
	sigfillset(&signals);
	posix_spawnattr_setsigdefault(&attributes, &signals);
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	failed = posix_spawn(&launch->pid, argv[0], &actions, &attributes, argv, envp);
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attributes);
	return failed ? socker_fail(err, "%s cannot be started: %s", argv[0], strerror(failed)) : 0;
}

/* Above the numbers that the child's descriptors get, so that no dup2 there overwrites a source of another. */
static int move_up(int fd)
{
	autofd low = fd;

	return low < 0 ? -1 : fcntl(low, F_DUPFD_CLOEXEC, 10);
}

static int make_pipe(int *to_read, int *to_write)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -1;
	*to_read = move_up(ends[0]);
	*to_write = move_up(ends[1]);
	return *to_read < 0 || *to_write < 0 ? -1 : 0;
}

static int make_socket(int *ours, int *theirs)
{
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		return -1;
	*ours = move_up(ends[0]);
	*theirs = move_up(ends[1]);
	return *ours < 0 || *theirs < 0 ? -1 : 0;
}

static int start(struct launch *launch, const char *verb, int count, char *const words[],
		 const struct socker_request *request, int saving, struct socker_error *err)
{
	char path[SOCKER_PATH_SIZE];
	char *argv[WORDS_MAX + 3] = {path, (char *)verb};
	autofd question = move_up(memfd_create("request", MFD_CLOEXEC));
	autofd null = move_up(open("/dev/null", O_WRONLY | O_CLOEXEC));
	autofd life = -1;
	autofd cancel = -1;
	autofd space = -1;

	*launch = (struct launch){.life = -1, .cancel = -1, .outcome = -1, .space = -1};
	if (count > WORDS_MAX)
		return socker_fail(err, "plugstack line: more than %d words", WORDS_MAX);
	for (int i = 0; i < count; i++)
		argv[i + 2] = words[i];
	if (opener_path(path, sizeof(path), err) < 0)
		return -1;
	launch->outcome = move_up(memfd_create("outcome", MFD_CLOEXEC));
	if (make_pipe(&launch->life, &life) < 0 || make_pipe(&cancel, &launch->cancel) < 0 ||
	    make_socket(&launch->space, &space) < 0 || question < 0 || null < 0 || launch->outcome < 0 ||
	    pwrite(question, request, sizeof(*request), 0) != (ssize_t)sizeof(*request))
		return socker_fail(err, "no descriptors for the opener: %m");
	return spawn(launch, argv, (int[]){question, launch->outcome, null, life, cancel, space, saving}, err);
}

int launch_opener(struct launch *launch, const char *verb, int count, char *const words[],
		  const struct socker_request *request, struct socker_error *err)
{
	return start(launch, verb, count, words, request, -1, err);
}

int launch_saving_opener(struct launch *launch, int count, char *const words[], const struct socker_request *request,
			 int saving, struct socker_error *err)
{
	return start(launch, "open", count, words, request, saving, err);
}

int launch_detach(struct launch *launch, struct socker_error *err)
{
	int status = 0;

	pid_t ended;

	do {
		ended = waitpid(launch->pid, &status, 0);
	} while (ended < 0 && errno == EINTR);
	if (ended != launch->pid || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
		return socker_fail(err, "the opener ended at its start (status %d); tell your administrator", status);
	return 0;
}

static void die_of(int number)
{
	sigset_t one;

	signal(number, SIG_DFL);
	sigemptyset(&one);
	sigaddset(&one, number);
	raise(number);
	sigprocmask(SIG_UNBLOCK, &one, NULL);
	_exit(128 + number);
}

static int read_outcome(const struct launch *launch, const char *what, struct socker_error *err)
{
	struct outcome outcome = {0};

	if (pread(launch->outcome, &outcome, sizeof(outcome), 0) != (ssize_t)sizeof(outcome) ||
	    outcome.magic != OUTCOME_MAGIC)
		return socker_fail(err, "%s the container was interrupted", what);
	if (outcome.verdict == SOCKER_GRANT)
		return 0;
	outcome.message[sizeof(outcome.message) - 1] = '\0';
	return socker_fail(err, "%s", outcome.message[0] ? outcome.message : "refused without a reason");
}

static int wait_for_outcome(const struct launch *launch, int signals, struct socker_error *err)
{
	struct signalfd_siginfo info;

	for (;;) {
		struct pollfd fds[2] = {{.fd = launch->life, .events = POLLIN}, {.fd = signals, .events = POLLIN}};

		if (poll(fds, 2, -1) < 0 && errno != EINTR)
			return socker_fail(err, "waiting for the container: %m");
		if (fds[1].revents && read(signals, &info, sizeof(info)) == sizeof(info)) {
			if (write(launch->cancel, "", 1) != 1)
				socker_fail(err, "the opener has ended");
			/* it leaves the step's cgroups first, which Slurm removes when the tasks are gone */
			poll(fds, 1, CANCEL_MILLISECONDS);
			die_of((int)info.ssi_signo);
		}
		if (fds[0].revents)
			return read_outcome(launch, "opening", err);
	}
}

int launch_wait(const struct launch *launch, struct socker_error *err)
{
	sigset_t deadly;
	sigset_t before;
	autofd signals = -1;
	int result;

	/* those whose default is to end a process, and that somebody sends to a step */
	sigemptyset(&deadly);
	for (const int *number = (const int[]){SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGALRM, SIGXCPU, 0};
	     *number; number++)
		sigaddset(&deadly, *number);
	sigprocmask(SIG_BLOCK, &deadly, &before);
	signals = signalfd(-1, &deadly, SFD_CLOEXEC);
	result = wait_for_outcome(launch, signals, err);
	/* Slurm 22.05 has them blocked here and unblocks them later; 24.11 has not, and the task would keep them so */
	sigprocmask(SIG_SETMASK, &before, NULL);
	return result;
}

bool launch_granted(const struct launch *launch)
{
	struct socker_error refused = {0};

	return read_outcome(launch, "opening", &refused) == 0;
}

/*
 * Waits at most milliseconds for the end of an opener that is a child, then kills it. Whether it ended by itself;
 * status is waitpid's, or one of no process that exited where slurmstepd has taken it.
 */
static bool end_child(const struct launch *launch, int milliseconds, int *status)
{
	bool ended = poll(&(struct pollfd){.fd = launch->life, .events = POLLIN}, 1, milliseconds) == 1;

	*status = -1;
	if (!ended)
		kill(launch->pid, SIGKILL);
	waitpid(launch->pid, status, 0);
	return ended;
}

int launch_result(struct launch *launch, int milliseconds, struct socker_error *err)
{
	int status;

	if (!end_child(launch, milliseconds, &status))
		return socker_fail(err, "it took too long");
	return read_outcome(launch, "saving", err);
}

int launch_finish(struct launch *launch, int milliseconds, struct socker_error *err)
{
	int status;
	bool ended = end_child(launch, milliseconds, &status);

	if (ended && WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	return socker_fail(err, "closing the containers %s; the sweep will finish it",
			   ended ? "failed" : "took too long");
}
