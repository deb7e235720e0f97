/* SPDX-License-Identifier: Apache-2.0 */
#include "jobspace.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include "scope.h"

/* A message of one descriptor. */
struct parcel {
	char byte;
	struct iovec data;
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))];
	struct msghdr header;
};

static void prepare(struct parcel *parcel)
{
	*parcel = (struct parcel){0};
	parcel->data = (struct iovec){&parcel->byte, 1};
	parcel->header = (struct msghdr){
		.msg_iov = &parcel->data,
		.msg_iovlen = 1,
		.msg_control = parcel->control,
		.msg_controllen = sizeof(parcel->control),
	};
}

void jobspace_send(int socket)
{
	struct parcel parcel;
	struct cmsghdr *control;
	autofd space = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);

	if (space < 0)
		return;
	prepare(&parcel);
	control = CMSG_FIRSTHDR(&parcel.header);
	*control = (struct cmsghdr){
		.cmsg_len = CMSG_LEN(sizeof(int)),
		.cmsg_level = SOL_SOCKET,
		.cmsg_type = SCM_RIGHTS,
	};
	memcpy(CMSG_DATA(control), &space, sizeof(space));
	/* the first task's is enough; the opener reads no other */
	sendmsg(socket, &parcel.header, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static int receive(int socket)
{
	struct parcel parcel;
	struct cmsghdr *control;
	int space = -1;

	prepare(&parcel);
	if (recvmsg(socket, &parcel.header, MSG_CMSG_CLOEXEC | MSG_DONTWAIT) != 1)
		return -1;
	control = CMSG_FIRSTHDR(&parcel.header);
	if (control && control->cmsg_level == SOL_SOCKET && control->cmsg_type == SCM_RIGHTS &&
	    control->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(&space, CMSG_DATA(control), sizeof(space));
	return space;
}

static bool is_ours(int socket)
{
	int type = 0;
	socklen_t size = sizeof(type);

	return getsockopt(socket, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_SEQPACKET;
}

static int wait_for(int socket, int cancel, int milliseconds, struct socker_error *err)
{
	struct pollfd fds[2] = {{.fd = socket, .events = POLLIN}, {.fd = cancel, .events = POLLIN}};
	int ready;

	do {
		ready = poll(fds, 2, milliseconds);
	} while (ready < 0 && errno == EINTR);
	if (ready <= 0 || fds[1].revents)
		return socker_fail(err, ready ? "opening the container was interrupted"
					      : "no task of the step has come; try again");
	return 0;
}

int jobspace_enter(int socket, int cancel, int milliseconds, int *home, struct socker_error *err)
{
	autofd before = -1;
	autofd space = -1;
	struct stat here;
	struct stat there;

	*home = -1;
	if (!is_ours(socket))
		return 0;
	if (wait_for(socket, cancel, milliseconds, err) < 0)
		return -1;
	space = receive(socket);
	before = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
	if (space < 0 || before < 0 || fstat(space, &there) < 0 || fstat(before, &here) < 0)
		return socker_fail(err, "the job's mount namespace is not known: %m");
	if (there.st_dev == here.st_dev && there.st_ino == here.st_ino)
		return 0;
	if (setns(space, CLONE_NEWNS) < 0)
		return socker_fail(err, "the job's mount namespace cannot be entered: %m");
	*home = steal_fd(&before);
	return 0;
}

int jobspace_leave(int *home, struct socker_error *err)
{
	int failed = *home >= 0 && setns(*home, CLONE_NEWNS) < 0;

	scope_close(home);
	*home = -1;
	return failed ? socker_fail(err, "the job's mount namespace cannot be left: %m") : 0;
}
