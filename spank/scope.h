/* SPDX-License-Identifier: Apache-2.0 */
/* Cleanup attributes: a descriptor or an allocation ends with its scope. -1 and NULL are "none". */
#ifndef SOCKER_SCOPE_H
#define SOCKER_SCOPE_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static inline void scope_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static inline void scope_free(void *memory)
{
	free(*(void **)memory);
}

static inline void scope_fclose(FILE **file)
{
	if (*file)
		fclose(*file);
}

static inline void scope_closedir(DIR **dir)
{
	if (*dir)
		closedir(*dir);
}

/* Takes the descriptor out of its scope: the caller owns it now. */
static inline int steal_fd(int *fd)
{
	int stolen = *fd;

	*fd = -1;
	return stolen;
}

#define autofd	     __attribute__((cleanup(scope_close))) int
#define autofree     __attribute__((cleanup(scope_free)))
#define autofclose   __attribute__((cleanup(scope_fclose)))
#define autoclosedir __attribute__((cleanup(scope_closedir)))

#endif
