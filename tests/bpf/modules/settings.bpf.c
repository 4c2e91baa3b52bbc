// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* Writes its settings over the packet, from byte 14 on. */
#include <iovisor_ovn/module.h>

const volatile __u16 number = 7;
const volatile __s8 negative;
const volatile _Bool truth;
const volatile __be16 port_be;
const volatile iom_ip4 ip4;
const volatile iom_ip6 ip6;
const volatile iom_mac mac;
const volatile char text[8];
const volatile __u16 list[3];
static const char no_setting[] = "constant";

IOMODULE(show_settings)
{
	struct {
		__u16 number;
		__s8 negative;
		__u8 truth;
		__be16 port_be;
		__be16 pad;
		__be32 ip4;
		__u8 ip6[16];
		__u8 mac[6];
		__u8 text[8];
		__u16 list[3];
	} all = {};

	all.number = number;
	all.negative = negative;
	all.truth = truth;
	all.port_be = port_be;
	all.ip4 = ip4;
	for (int i = 0; i < 16; i++)
		all.ip6[i] = ip6.byte[i];
	for (int i = 0; i < 6; i++)
		all.mac[i] = mac.byte[i];
	for (int i = 0; i < 8; i++)
		all.text[i] = text[i];
	for (int i = 0; i < 3; i++)
		all.list[i] = list[i];
	if (all.number == 4711)
		bpf_printk("%s", no_setting);
	return bpf_skb_store_bytes(skb, 14, &all, sizeof(all), 0) ? IOM_DROP :
								    IOM_PASS;
}

char _license[] SEC("license") = "GPL";
