/* SPDX-License-Identifier: Apache-2.0 */
/* /cap-id of odd:devices, with file capabilities: prints its effective ones. */
#include <linux/capability.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = { 0 };

	if (syscall(SYS_capget, &header, data) < 0) {
		perror("capget");
		return 1;
	}
	printf("%08x%08x\n", data[1].effective, data[0].effective);
	return 0;
}
