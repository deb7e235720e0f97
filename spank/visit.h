/* SPDX-License-Identifier: Apache-2.0 */
/* What the visits of inside.h have in common. */
#ifndef SOCKER_VISIT_H
#define SOCKER_VISIT_H

#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

/*
 * As fork. A visitor may wait for ever, for a file server or for what a user's own file system does not answer, and has
 * the opener's lock: it ends with the opener.
 */
static inline pid_t visit_fork(void)
{
	pid_t opener = getpid();
	pid_t child = fork();

	if (child == 0 && (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != opener))
		_exit(ECHILD);
	return child;
}

/* Waits for a visitor whose exit status is 0 or an errno, and returns that; ECHILD where there was none or it was
 * killed. */
static inline int visit_end(pid_t child)
{
	int status = 0;

	if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status))
		return ECHILD;
	return WEXITSTATUS(status);
}

/* The type of the file system that an open file is on, as in <linux/magic.h>; 0 where it is not known. */
static inline unsigned long visit_fs_type(int fd)
{
	struct statfs fs;

	return fstatfs(fd, &fs) < 0 ? 0 : (unsigned long)fs.f_type;
}

#endif
