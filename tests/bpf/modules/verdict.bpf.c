// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* Returns what it is told, and says how the packet came in its mark. */
#include <iovisor_ovn/module.h>

const volatile __s32 verdict = IOM_PASS;

IOMODULE(give_verdict)
{
	skb->mark = iom_port(skb) << 8 | iom_ports(skb) |
		    (iom_is_at_logical_port(skb) ? 0x10000 : 0);
	return verdict;
}

char _license[] SEC("license") = "GPL";
