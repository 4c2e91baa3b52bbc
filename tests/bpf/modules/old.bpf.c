// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* Built against a header of another version. */
#include <iovisor_ovn/module.h>

IOM_DEFINE(old, 99)
{
	return skb->len > 4711;
}

char _license[] SEC("license") = "GPL";
