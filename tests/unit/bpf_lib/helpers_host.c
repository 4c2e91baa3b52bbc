// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * The kernel's helpers on a packet in memory, as far as parser and deparser call
 * them: net/core/filter.c, for an skb without offloads. The packet lies in a
 * buffer of exactly its size, so that the address sanitizer sees its ends.
 */
#include "helpers_host.h"

#include <stdlib.h>
#include <string.h>

struct machine_map machines;
struct drops_map drops;
struct machine the_machine;

static __u8 *packet;

void *bpf_map_lookup_elem(void *map, const void *key)
{
	(void)key;
	return map == &machines ? &the_machine : 0;
}

void packet_set(struct __sk_buff *skb, const __u8 *bytes, __u32 len)
{
	__u8 *copy = malloc(len ? len : 1);

	memcpy(copy, bytes, len);
	free(packet);
	packet = copy;
	skb->len = len;
}

const __u8 *packet_bytes(void)
{
	return packet;
}

static int reaches(const struct __sk_buff *skb, __u32 offset, __u32 len)
{
	return offset <= 0xffff && (__u64)offset + len <= skb->len;
}

long bpf_skb_load_bytes(const void *skb, __u32 offset, void *to, __u32 len)
{
	if (!reaches(skb, offset, len)) {
		memset(to, 0, len);
		return -14;
	}
	memcpy(to, packet + offset, len);
	return 0;
}

long bpf_skb_store_bytes(struct __sk_buff *skb, __u32 offset, const void *from,
			 __u32 len, __u64 flags)
{
	if (flags & ~(__u64)BPF_F_RECOMPUTE_CSUM)
		return -22;
	if (!reaches(skb, offset, len))
		return -14;
	memcpy(packet + offset, from, len);
	return 0;
}

/* The tag beside the packet goes; one inside the packet takes its place. */
long bpf_skb_vlan_pop(struct __sk_buff *skb)
{
	__u16 type, tci;

	if (skb->vlan_present) {
		skb->vlan_present = 0;
		skb->vlan_tci = 0;
	} else {
		if (skb->len < 18)
			return 0;
		memcpy(&type, packet + 12, 2);
		if (type != bpf_htons(ETHERTYPE_VLAN) &&
		    type != bpf_htons(ETHERTYPE_QINQ))
			return 0;
		memmove(packet + 12, packet + 16, skb->len - 16);
		packet_set(skb, packet_bytes(), skb->len - 4);
	}
	if (skb->len < 18)
		return 0;
	memcpy(&type, packet + 12, 2);
	if (type != bpf_htons(ETHERTYPE_VLAN) &&
	    type != bpf_htons(ETHERTYPE_QINQ))
		return 0;
	memcpy(&tci, packet + 14, 2);
	memmove(packet + 12, packet + 16, skb->len - 16);
	packet_set(skb, packet_bytes(), skb->len - 4);
	skb->vlan_present = 1;
	skb->vlan_proto = type;
	skb->vlan_tci = bpf_ntohs(tci);
	return 0;
}

long bpf_skb_vlan_push(struct __sk_buff *skb, __be16 proto, __u16 tci)
{
	__u8 *longer;
	__u16 inner;

	if (proto != bpf_htons(ETHERTYPE_VLAN) &&
	    proto != bpf_htons(ETHERTYPE_QINQ))
		proto = bpf_htons(ETHERTYPE_VLAN);
	if (skb->vlan_present) {
		longer = malloc(skb->len + 4);
		memcpy(longer, packet, 12);
		memcpy(longer + 12, &skb->vlan_proto, 2);
		inner = bpf_htons(skb->vlan_tci);
		memcpy(longer + 14, &inner, 2);
		memcpy(longer + 16, packet + 12, skb->len - 12);
		packet_set(skb, longer, skb->len + 4);
		free(longer);
	}
	skb->vlan_present = 1;
	skb->vlan_proto = proto;
	skb->vlan_tci = tci;
	return 0;
}

static __u16 fold(__u64 sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/* RFC 1624, equation 3, on values as they lie in the packet. */
static __u16 replaced(__u16 csum, __u64 from, __u64 to)
{
	return ~fold((__u64)(__u16)~csum + fold(~from & 0xffffffff) + fold(to));
}

long bpf_l3_csum_replace(struct __sk_buff *skb, __u32 offset, __u64 from,
			 __u64 to, __u64 size)
{
	__u16 csum;

	if (size != 2 && size != 4)
		return -22;
	if (offset & 1 || !reaches(skb, offset, 2))
		return -14;
	memcpy(&csum, packet + offset, 2);
	csum = replaced(csum, from, to);
	memcpy(packet + offset, &csum, 2);
	return 0;
}

long bpf_l4_csum_replace(struct __sk_buff *skb, __u32 offset, __u64 from,
			 __u64 to, __u64 flags)
{
	__u32 size = flags & BPF_F_HDR_FIELD_MASK;
	__u16 csum;

	if (flags & ~(__u64)(BPF_F_MARK_MANGLED_0 | BPF_F_PSEUDO_HDR |
			     BPF_F_HDR_FIELD_MASK) ||
	    (size != 0 && size != 2 && size != 4) || (!size && from))
		return -22;
	if (offset & 1 || !reaches(skb, offset, 2))
		return -14;
	memcpy(&csum, packet + offset, 2);
	if (flags & BPF_F_MARK_MANGLED_0 && !csum)
		return 0;
	if (size)
		csum = replaced(csum, from, to);
	else
		csum = ~fold((__u64)(__u16)~csum + fold(to));
	if (flags & BPF_F_MARK_MANGLED_0 && !csum)
		csum = 0xffff;
	memcpy(packet + offset, &csum, 2);
	return 0;
}

__s64 bpf_csum_diff(__be32 *from, __u32 from_size, __be32 *to, __u32 to_size,
		    __wsum seed)
{
	__u64 sum = seed;

	if ((from_size | to_size) & 3)
		return -22;
	for (__u32 i = 0; i < from_size / 4; i++)
		sum += ~from[i] & 0xffffffff;
	for (__u32 i = 0; i < to_size / 4; i++)
		sum += to[i];
	return fold(sum);
}
