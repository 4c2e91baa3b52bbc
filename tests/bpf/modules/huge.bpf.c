// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* Runs longer than the verifier follows. */
#include <iovisor_ovn/module.h>

IOMODULE(never_ends)
{
	__u32 sum = 0;

	for (__u32 i = 0; i < 1 << 24; i++) {
		sum += bpf_get_prandom_u32();
		if (sum == 4711)
			break;
	}
	return sum & 1 ? IOM_PASS : IOM_DROP;
}

char _license[] SEC("license") = "GPL";
