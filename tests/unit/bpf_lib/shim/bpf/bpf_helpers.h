/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Stands in for libbpf's header where the programs are built for the host: the
 * helpers that parser and deparser call are functions of helpers_host.c.
 */
#pragma once

#include <linux/bpf.h>
#include <linux/types.h>
#include <sys/cdefs.h> /* __always_inline */

#define SEC(name)
#define __noinline __attribute__((noinline))
#define __uint(name, value) int(*name)[value]
#define __type(name, value) typeof(value) *name

void *bpf_map_lookup_elem(void *map, const void *key);
long bpf_skb_load_bytes(const void *skb, __u32 offset, void *to, __u32 len);
long bpf_skb_store_bytes(struct __sk_buff *skb, __u32 offset, const void *from,
			 __u32 len, __u64 flags);
long bpf_skb_vlan_pop(struct __sk_buff *skb);
long bpf_skb_vlan_push(struct __sk_buff *skb, __be16 proto, __u16 tci);
long bpf_l3_csum_replace(struct __sk_buff *skb, __u32 offset, __u64 from,
			 __u64 to, __u64 size);
long bpf_l4_csum_replace(struct __sk_buff *skb, __u32 offset, __u64 from,
			 __u64 to, __u64 flags);
__s64 bpf_csum_diff(__be32 *from, __u32 from_size, __be32 *to, __u32 to_size,
		    __wsum seed);
