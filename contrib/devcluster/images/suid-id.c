/* SPDX-License-Identifier: Apache-2.0 */
/* /suid-id of odd:devices, set-user-ID root: prints real and effective uid. */
#include <stdio.h>
#include <unistd.h>

int main(void)
{
	printf("%u %u\n", getuid(), geteuid());
	return 0;
}
