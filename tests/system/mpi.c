/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An MPI program for either library of the image, chosen by the first argument: openmpi or mpich. It is bound at run
 * time, so neither's headers are needed; handles are what the ABI of each says.
 *
 * Each rank prints one line: RANK SIZE SUM RING ATTACHED, where SUM is the allreduce of all ranks + 1, RING is the
 * number of bytes that came unchanged from the rank before it, and ATTACHED how many of them process_vm_readv fetches
 * from that rank's own memory, -1 where it runs on another node.
 */
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

enum { SIZE = 8 << 20, TAG = 7, NAME = 64 };

typedef uintptr_t handle;

static void *library;
static handle world, integer, byte, sum, ignore;

static void *function(const char *name)
{
	void *found = dlsym(library, name);

	if (!found) {
		fprintf(stderr, "%s: %s\n", name, dlerror());
		exit(1);
	}
	return found;
}

static void choose(const char *which)
{
	int open = strcmp(which, "openmpi") == 0;

	library = dlopen(open ? "libmpi.so.40" : "libmpich.so.12", RTLD_NOW | RTLD_GLOBAL);
	if (!library) {
		fprintf(stderr, "%s\n", dlerror());
		exit(1);
	}
	world = open ? (handle)function("ompi_mpi_comm_world") : 0x44000000;
	integer = open ? (handle)function("ompi_mpi_int") : 0x4c000405;
	byte = open ? (handle)function("ompi_mpi_byte") : 0x4c00010d;
	sum = open ? (handle)function("ompi_mpi_op_sum") : 0x58000003;
	ignore = open ? 0 : 1; /* MPI_STATUS_IGNORE */
}

/* Where a rank's memory is. */
struct place {
	char node[NAME];
	int pid;
	void *memory;
};

static long same(const unsigned char *memory, int rank)
{
	long count = 0;

	while (count < SIZE && memory[count] == (unsigned char)(rank + count / 4096))
		count++;
	return count;
}

static long attached(const struct place *mine, const struct place *other, int rank)
{
	static unsigned char copy[SIZE];
	struct iovec to = {copy, SIZE};
	struct iovec from = {other->memory, SIZE};

	if (strcmp(mine->node, other->node) != 0)
		return -1;
	if (process_vm_readv(other->pid, &to, 1, &from, 1, 0) != SIZE) {
		perror("process_vm_readv");
		return 0;
	}
	return same(copy, rank);
}

int main(int argc, char *argv[])
{
	static unsigned char mine[SIZE], theirs[SIZE];
	static struct place places[64];
	struct place place = {.pid = getpid(), .memory = mine};
	int rank, size, total, one, before;

	choose(argc > 1 ? argv[1] : "openmpi");
	int (*init)(void *, void *) = function("MPI_Init");
	int (*get_rank)(handle, int *) = function("MPI_Comm_rank");
	int (*get_size)(handle, int *) = function("MPI_Comm_size");
	int (*allreduce)(void *, void *, int, handle, handle, handle) = function("MPI_Allreduce");
	int (*allgather)(void *, int, handle, void *, int, handle, handle) = function("MPI_Allgather");
	int (*sendrecv)(void *, int, handle, int, int, void *, int, handle, int, int, handle, handle) =
		function("MPI_Sendrecv");
	int (*barrier)(handle) = function("MPI_Barrier");
	int (*finalize)(void) = function("MPI_Finalize");

	if (init(&argc, &argv) || get_rank(world, &rank) || get_size(world, &size) || size > 64)
		return 1;
	one = rank + 1;
	before = (rank + size - 1) % size;
	for (long i = 0; i < SIZE; i++)
		mine[i] = (unsigned char)(rank + i / 4096);
	snprintf(place.node, sizeof(place.node), "%s", getenv("SLURMD_NODENAME"));
	if (allreduce(&one, &total, 1, integer, sum, world) ||
	    allgather(&place, sizeof(place), byte, places, sizeof(place), byte, world) ||
	    sendrecv(mine, SIZE, byte, (rank + 1) % size, TAG, theirs, SIZE, byte, before, TAG, world, ignore))
		return 1;
	printf("%d %d %d %ld %ld\n", rank, size, total, same(theirs, before),
	       attached(&place, &places[before], before));
	fflush(stdout);
	/* nobody leaves before all have looked */
	return barrier(world) || finalize();
}
