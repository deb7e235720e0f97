/* SPDX-License-Identifier: Apache-2.0 */
#include "policychild.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <syslog.h>

#include "scope.h"
#include "syscalls.h"
#include "trust.h"

struct account {
	uid_t uid;
	gid_t gid;
	gid_t groups[32];
	int group_count;
};

static int account_find(struct account *account, const char *user, struct socker_error *err)
{
	const struct passwd *entry = getpwnam(user);

	if (!entry)
		return socker_fail(err, "the user %s does not exist on this node; tell your administrator", user);
	account->uid = entry->pw_uid;
	account->gid = entry->pw_gid;
	account->group_count = sizeof(account->groups) / sizeof(account->groups[0]);
	if (account->uid == 0 || account->gid == 0)
		return socker_fail(err, "the user %s is root; the policy engine does not run as root", user);
	if (getgrouplist(user, account->gid, account->groups, &account->group_count) < 0)
		return socker_fail(err, "the user %s is in too many groups", user);
	for (int i = 0; i < account->group_count; i++) {
		if (account->groups[i] == 0)
			return socker_fail(err, "the user %s is in group root", user);
	}
	return 0;
}

/* Runs in the child between fork and exec; anything that fails ends it with 126, which the parent reports. */
static void become_and_exec(const struct account *account, int program, const char *verb, const int fds[3],
			    pid_t opener)
{
	const char *const argv[] = {"socker-policy", verb, NULL};
	const char *const envp[] = {NULL};
	uid_t uid[3];
	gid_t gid[3];

	for (int i = 0; i < 3; i++) {
		if (dup2(fds[i], i) < 0)
			_exit(126);
	}
	if (setgroups((size_t)account->group_count, account->groups) < 0 ||
	    setresgid(account->gid, account->gid, account->gid) < 0 ||
	    setresuid(account->uid, account->uid, account->uid) < 0 || getresuid(uid, uid + 1, uid + 2) < 0 ||
	    getresgid(gid, gid + 1, gid + 2) < 0)
		_exit(126);
	for (int i = 0; i < 3; i++) {
		if (uid[i] != account->uid || gid[i] != account->gid)
			_exit(126);
	}
	/* set after the ids, whose change clears it; the opener may have ended before it was set */
	if (setuid(0) == 0 || prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != opener ||
	    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0}) < 0)
		_exit(126);
	syscall(SYS_close_range, 3, ~0U, 4 /* CLOSE_RANGE_CLOEXEC */);
	syscall(SYS_execveat, program, "", argv, envp, AT_EMPTY_PATH);
	_exit(126);
}

/*
 * What the child wrote to its standard error goes to the node's log. The line that names an error (a traceback has one)
 * is returned for the user; the last line where none does.
 */
static void report_stderr(int fd, char *line, size_t size)
{
	char text[4096];
	ssize_t length = pread(fd, text, sizeof(text) - 1, 0);
	char *rest = text;
	char *raw;
	bool named = false;

	line[0] = '\0';
	if (length <= 0)
		return;
	text[length] = '\0';
	while ((raw = strsep(&rest, "\n"))) {
		char clean[SOCKER_MESSAGE_SIZE];

		socker_printable(clean, sizeof(clean), raw);
		if (!clean[0])
			continue;
		syslog(LOG_ERR, "policy child: %s", clean);
		if (!named)
			snprintf(line, size, "%.*s", (int)size - 1, clean);
		named = named || strstr(clean, "Error: ");
	}
}

static int wait_for_end(pid_t child, uint32_t deadline_ms, int cancel, int *status, struct socker_error *err)
{
	autofd pidfd = (int)syscall(SYS_pidfd_open, child, 0);
	struct pollfd fds[2] = {{.fd = pidfd, .events = POLLIN}, {.fd = cancel, .events = POLLIN}};
	int ready = pidfd < 0 ? 0 : poll(fds, 2, (int)deadline_ms);
	bool ended = ready > 0 && fds[0].revents;

	if (!ended)
		kill(child, SIGKILL);
	if (waitpid(child, status, 0) != child)
		return socker_fail(err, "the policy engine was lost: %m");
	if (ended)
		return 0;
	errno = ready > 0 ? ECANCELED : ETIMEDOUT;
	if (ready > 0)
		return socker_fail(err, "cancelled");
	return socker_fail(err,
			   "Docker took longer than %u s on this node and was given up; try again later, or tell your "
			   "administrator",
			   deadline_ms / 1000);
}

/* The program, and with it the place that its Python code comes from: both only root may change. */
static int open_program(const char *libdir, struct socker_error *err)
{
	char path[SOCKER_PATH_SIZE];
	autofd packages = -1;

	if (snprintf(path, sizeof(path), "%s/venv/lib", libdir) >= (int)sizeof(path))
		return socker_fail(err, "%s: path too long", libdir);
	packages = trust_open_dir(path, err);
	if (packages < 0)
		return -1;
	snprintf(path, sizeof(path), "%s/socker-policy", libdir);
	return trust_open_file(path, err);
}

static int make_value(const char *name, const void *value, size_t size, struct socker_error *err)
{
	autofd fd = memfd_create(name, MFD_CLOEXEC);

	if (fd < 0 || (size && pwrite(fd, value, size, 0) != (ssize_t)size))
		return socker_fail(err, "no memory for %s: %m", name);
	return steal_fd(&fd);
}

int policychild_ask(const char *libdir, const char *user, const char *verb, const void *question, size_t question_size,
		    void *answer, size_t answer_size, uint32_t deadline_ms, int cancel, struct socker_error *err)
{
	struct account account;
	char why[256];
	int status = 0;
	pid_t opener = getpid();
	pid_t child;
	autofd program = open_program(libdir, err);
	autofd in = make_value("question", question, question_size, err);
	autofd out = make_value("answer", NULL, 0, err);
	autofd log = make_value("messages", NULL, 0, err);

	if (program < 0 || in < 0 || out < 0 || log < 0 || account_find(&account, user, err) < 0)
		return -1;
	child = fork();
	if (child == 0)
		become_and_exec(&account, program, verb, (int[]){in, out, log}, opener);
	if (child < 0)
		return socker_fail(err, "no process for the policy engine: %m");
	if (wait_for_end(child, deadline_ms, cancel, &status, err) < 0)
		return -1;
	report_stderr(log, why, sizeof(why));
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		return socker_fail(err, "the policy engine failed on this node (%s %d%s%s); tell your administrator",
				   WIFSIGNALED(status) ? "signal" : "exit",
				   WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status), why[0] ? ": " : "",
				   why);
	if (lseek(out, 0, SEEK_END) != (off_t)answer_size || pread(out, answer, answer_size, 0) != (ssize_t)answer_size)
		return socker_fail(err, "the policy engine gave no whole answer; tell your administrator");
	return 0;
}
