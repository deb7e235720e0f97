/* SPDX-License-Identifier: Apache-2.0 */
/* /hello of static:latest: says so, and its arguments. */
#include <stdio.h>

int main(int argc, char **argv)
{
	printf("hello from static");
	for (int i = 0; i < argc; i++)
		printf(" %s", argv[i]);
	printf("\n");
	return 0;
}
