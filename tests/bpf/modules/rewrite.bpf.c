// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* Changes the length and the last byte of a packet, and counts in a map. */
#include <iovisor_ovn/module.h>

const volatile __s32 grow;
const volatile __u8 last;
const volatile __u32 out = IOM_PASS;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} seen SEC(".maps");

IOMODULE(rewrite)
{
	__u32 zero = 0;
	__u64 *count = bpf_map_lookup_elem(&seen, &zero);
	__u8 byte = last;

	if (count)
		__sync_fetch_and_add(count, 1);
	if (grow && bpf_skb_change_tail(skb, skb->len + grow, 0))
		return IOM_DROP;
	if (skb->len < 15 ||
	    bpf_skb_store_bytes(skb, skb->len - 1, &byte, 1, 0))
		return IOM_DROP;
	return out;
}

char _license[] SEC("license") = "GPL";
