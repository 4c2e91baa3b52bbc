/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Parts of this module, for itself. The answer_ functions put an answer into
 * the next free generated[]: 0 done, 1 the packet is one that gets none, a
 * negative enum drop if there can be none. deparse() has been called.
 */
#pragma once

#include "lib/compose.h"

/* back: send it where the packet came from; else bodies turn it round. */

/* OP_GEN_ARP, OP_GEN_ND_NS, OP_GEN_ND_NA, OP_GEN_ND_NA_ROUTER. */
int answer_neighbour(struct __sk_buff *skb, __u32 verb);

/* ICMP errors of either family; with_port: tell UDP from the rest. */
int answer_error(struct __sk_buff *skb, __u32 with_port, __u32 back);

int answer_reset(struct __sk_buff *skb, __u32 back);
int answer_abort(struct __sk_buff *skb, __u32 back);
int answer_seal(struct __sk_buff *skb, __u32 at);

/* Whether the neighbour is to be asked for, not having been asked for lately. */
int may_ask(__u32 verb);

/* Hand the packet itself to the agent, which sends it when the MAC is known. */
int answer_hold(struct __sk_buff *skb, __u32 verb);

/*
 * Whether the L4 checksum covers the pseudo header only, the rest being left to
 * the device (CHECKSUM_PARTIAL): then, and only then, the helper does not
 * touch a checksum when data changes.
 */
static __always_inline __u32 is_partial(struct __sk_buff *skb,
					const struct machine *m)
{
	__u16 before, after;
	__u32 at;

	if (!m->l4 || m->w[W_IP_META] & FRAG_ANY)
		return 0;
	if (m->w[W_CLASS] & CLASS_TCP)
		at = m->l4 + 16;
	else if (m->w[W_CLASS] & CLASS_UDP)
		at = m->l4 + 6;
	else if (m->w[W_CLASS] & CLASS_SCTP)
		at = m->l4 + 8;
	else
		return 0;
	if (bpf_skb_load_bytes(skb, at, &before, 2) ||
	    bpf_l4_csum_replace(skb, at, 0, 1, 2) ||
	    bpf_skb_load_bytes(skb, at, &after, 2))
		return 0;
	bpf_skb_store_bytes(skb, at, &before, 2, 0);
	return before == after;
}

/* What an answer inherits: registers, not what ct said of the packet. */
static __always_inline void keep_words(__u32 *to, const __u32 *from)
{
	__builtin_memcpy(to, from, MAX_WORDS * sizeof(__u32));
	for (int i = W_CT_STATE; i <= W_PKT_MARK; i++)
		to[i] = 0;
}
