// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* A tc program, but no module. */
#include <iovisor_ovn/module.h>

SEC("tc")
int plain(struct __sk_buff *skb)
{
	return skb->len > 4711;
}

char _license[] SEC("license") = "GPL";
