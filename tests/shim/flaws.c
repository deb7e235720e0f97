/* SPDX-License-Identifier: Apache-2.0 */
#include "flaws.h"

#include <limits.h>
#include <stdlib.h>

static volatile int one = 1;

/* not inlined: the size of what it points to would be seen, and told by another check than the one meant */
__attribute__((noipa)) static void store(volatile char *at)
{
	*at = 1;
}

void flaw_overflow(void)
{
	char *memory = malloc(8);

	store(memory + 7 + one);
	free(memory);
}

void flaw_undefined(void)
{
	volatile int large = INT_MAX;

	large = large + one;
}

void flaw_leak(void)
{
	volatile char *memory = malloc(4711);

	memory[0] = 1;
}
