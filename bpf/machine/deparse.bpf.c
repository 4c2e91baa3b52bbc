// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * Words to packet: writes those header fields whose words differ from what
 * the skb holds, and keeps checksums right, also partial and complete ones
 * (the helpers know skb->ip_summed).
 */
#include "iomodules/icmp/sctp.h"
#include "lib/csum.h"
#include "lib/machine.h"

#define IP4_CSUM (ETH_BYTES + 10)
#define ICMP4_UNREACHABLE 3

#define CHANGED(word) (m->w[word] != m->wire[word])

static __always_inline int store(struct __sk_buff *skb, __u32 at,
				 const void *bytes, __u32 n)
{
	return bpf_skb_store_bytes(skb, at, bytes, n, 0);
}

/*
 * The same where no checksum inside the packet makes up for the change: a
 * complete checksum over the packet (skb->csum) has to learn of it.
 */
static __always_inline int store_summed(struct __sk_buff *skb, __u32 at,
					const void *bytes, __u32 n)
{
	return bpf_skb_store_bytes(skb, at, bytes, n, BPF_F_RECOMPUTE_CSUM);
}

static __always_inline void put_macs(const struct machine *m, __u8 *eth)
{
	WRITE_BE16(eth, m->w[W_ETH_HI] >> 16);
	WRITE_BE32(eth + 2, m->w[W_ETH_DST_LO]);
	WRITE_BE16(eth + 6, m->w[W_ETH_HI]);
	WRITE_BE32(eth + 8, m->w[W_ETH_SRC_LO]);
}

/*
 * What a router changes, in one write: MAC addresses, TOS and TTL with the IPv4
 * header checksum, which makes up for them in a complete checksum.
 */
static __always_inline int write_ip4_front(struct __sk_buff *skb,
					   struct machine *m)
{
	__u8 front[IP4_CSUM + 2] __attribute__((aligned(4)));
	__be16 old[3], new[2];

	if (bpf_skb_load_bytes(skb, ETH_BYTES - 2, front + ETH_BYTES - 2,
			       sizeof(front) - (ETH_BYTES - 2)))
		return -1;
	old[0] = *(__be16 *)(front + ETH_BYTES);
	old[1] = *(__be16 *)(front + ETH_BYTES + 8);
	old[2] = *(__be16 *)(front + IP4_CSUM);
	front[ETH_BYTES + 1] = m->w[W_IP_META] >> 16;
	front[ETH_BYTES + 8] = m->w[W_IP_META] >> 8;
	new[0] = *(__be16 *)(front + ETH_BYTES);
	new[1] = *(__be16 *)(front + ETH_BYTES + 8);
	*(__be16 *)(front + IP4_CSUM) =
		csum_finish((__u64)(__be16)~old[2] + (__be16)~old[0] +
			    (__be16)~old[1] + new[0] + new[1]);
	put_macs(m, front);
	m->wire[W_IP_META] = m->w[W_IP_META];
	return store(skb, 0, front, sizeof(front));
}

static __always_inline int write_eth(struct __sk_buff *skb, struct machine *m)
{
	__u8 mac[12] __attribute__((aligned(4)));

	if (CHANGED(W_IP_META) && m->w[W_CLASS] & CLASS_IP4 && m->ip_end)
		return write_ip4_front(skb, m);
	if (!CHANGED(W_ETH_HI) && !CHANGED(W_ETH_DST_LO) &&
	    !CHANGED(W_ETH_SRC_LO))
		return 0;
	put_macs(m, mac);
	return store(skb, 0, mac, sizeof(mac));
}

static __always_inline int write_vlan(struct __sk_buff *skb, struct machine *m)
{
	__u32 old = m->wire[W_ETH_TYPE_TCI] & 0xffff;
	__u32 new = m->w[W_ETH_TYPE_TCI] & 0xffff;
	__u16 proto = bpf_htons(ETHERTYPE_VLAN);

	if (old == new)
		return 0;
	if (old & TCI_PRESENT) {
		proto = skb->vlan_proto;
		if (bpf_skb_vlan_pop(skb))
			return -1;
	}
	if (!(new &TCI_PRESENT))
		return 0;
	return bpf_skb_vlan_push(skb, proto, new & ~TCI_PRESENT);
}

static __always_inline int write_arp(struct __sk_buff *skb, struct machine *m)
{
	__u8 arp[22] __attribute__((aligned(4)));

	if (!m->l4_len)
		return 0;
	WRITE_BE16(arp, m->w[W_ARP_OP]);
	WRITE_BE16(arp + 2, m->w[W_ARP_HI] >> 16);
	WRITE_BE32(arp + 4, m->w[W_ARP_SHA_LO]);
	WRITE_BE32(arp + 8, m->w[W_ARP_SPA]);
	WRITE_BE16(arp + 12, m->w[W_ARP_HI]);
	WRITE_BE32(arp + 14, m->w[W_ARP_THA_LO]);
	WRITE_BE32(arp + 18, m->w[W_ARP_TPA]);
	return store_summed(skb, ETH_BYTES + 6, arp, sizeof(arp));
}

/* Offset of the L4 checksum, 0 if the packet has none that we can reach. */
static __always_inline __u32 l4_csum_at(const struct machine *m)
{
	if (!m->l4)
		return 0;
	if (m->w[W_CLASS] & CLASS_TCP)
		return m->l4 + 16;
	if (m->w[W_CLASS] & CLASS_UDP)
		return m->l4 + 6;
	if (m->w[W_CLASS] & (CLASS_ICMP4 | CLASS_ICMP6))
		return m->l4 + 2;
	return 0;
}

/* A UDP checksum of 0 stays 0 over IPv4, and never becomes 0. */
static __always_inline __u64 udp_flag(const struct machine *m)
{
	return m->w[W_CLASS] & CLASS_UDP ? BPF_F_MARK_MANGLED_0 : 0;
}

static __always_inline int
write_ip4_addr(struct __sk_buff *skb, struct machine *m, __u32 word, __u32 at)
{
	__be32 old = bpf_htonl(m->wire[word]), new = bpf_htonl(m->w[word]);
	__u32 csum = l4_csum_at(m);

	if (old == new)
		return 0;
	if (bpf_l3_csum_replace(skb, IP4_CSUM, old, new, 4))
		return -1;
	if (csum && !(m->w[W_CLASS] & CLASS_ICMP4) &&
	    bpf_l4_csum_replace(skb, csum, old, new,
				BPF_F_PSEUDO_HDR | udp_flag(m) | 4))
		return -1;
	return store(skb, at, &new, 4);
}

static __always_inline int write_ip4(struct __sk_buff *skb, struct machine *m)
{
	if (write_ip4_addr(skb, m, W_IP4_SRC, ETH_BYTES + 12))
		return -1;
	return write_ip4_addr(skb, m, W_IP4_DST, ETH_BYTES + 16);
}

/* Four words as bytes, old and new, and the checksum difference between. */
static __always_inline int write_words4(struct __sk_buff *skb,
					struct machine *m, __u32 word, __u32 at,
					__u64 pseudo)
{
	__be32 old[4], new[4];
	__u32 csum = l4_csum_at(m);
	__s64 diff;

	for (int i = 0; i < 4; i++) {
		old[i] = bpf_htonl(m->wire[word + i]);
		new[i] = bpf_htonl(m->w[word + i]);
	}
	if (!((old[0] ^ new[0]) | (old[1] ^ new[1]) | (old[2] ^ new[2]) |
	      (old[3] ^ new[3])))
		return 0;
	if (csum) {
		diff = bpf_csum_diff(old, 16, new, 16, 0);
		if (diff < 0 || bpf_l4_csum_replace(skb, csum, 0, diff,
						    pseudo | udp_flag(m)))
			return -1;
	}
	/*
	 * The helper takes addresses for IPv4's, whose header checksum makes
	 * up for their change in a complete checksum.
	 */
	return pseudo ? store_summed(skb, at, new, 16) :
			store(skb, at, new, 16);
}

static __always_inline int write_ip6(struct __sk_buff *skb, struct machine *m)
{
	__u8 hop_limit = m->w[W_IP_META] >> 8;
	__be32 first;

	if (((m->wire[W_IP_META] ^ m->w[W_IP_META]) & 0x00ff0000) ||
	    CHANGED(W_IP6_LABEL)) {
		first = bpf_htonl(0x60000000 |
				  (m->w[W_IP_META] & 0x00ff0000) << 4 |
				  (m->w[W_IP6_LABEL] & 0xfffff));
		if (store_summed(skb, ETH_BYTES, &first, 4))
			return -1;
	}
	if (((m->wire[W_IP_META] ^ m->w[W_IP_META]) & 0x0000ff00) &&
	    store_summed(skb, ETH_BYTES + 7, &hop_limit, 1))
		return -1;
	if (write_words4(skb, m, W_IP6_SRC0, ETH_BYTES + 8, BPF_F_PSEUDO_HDR))
		return -1;
	return write_words4(skb, m, W_IP6_DST0, ETH_BYTES + 24,
			    BPF_F_PSEUDO_HDR);
}

/* A link-layer address of an ND option, halves in hi (shifted) and lo. */
static __always_inline int write_nd_option(struct __sk_buff *skb,
					   struct machine *m, __u32 at,
					   __u32 shift, __u32 lo)
{
	__u8 old[8] __attribute__((aligned(8))) = {};
	__u8 new[8] __attribute__((aligned(8))) = {};
	__s64 diff;

	if (!at)
		return 0;
	WRITE_BE16(old + 2, m->wire[W_ND_HI] >> shift);
	WRITE_BE32(old + 4, m->wire[lo]);
	WRITE_BE16(new + 2, m->w[W_ND_HI] >> shift);
	WRITE_BE32(new + 4, m->w[lo]);
	diff = bpf_csum_diff((__be32 *)old, 8, (__be32 *)new, 8, 0);
	if (diff < 0 || bpf_l4_csum_replace(skb, m->l4 + 2, 0, diff, 0))
		return -1;
	return store(skb, at, new + 2, 6);
}

static __always_inline int write_nd(struct __sk_buff *skb, struct machine *m)
{
	if (write_words4(skb, m, W_ND_TARGET0, m->l4 + 8, 0))
		return -1;
	if (!CHANGED(W_ND_HI) && !CHANGED(W_ND_SLL_LO) && !CHANGED(W_ND_TLL_LO))
		return 0;
	if (write_nd_option(skb, m, m->nd_sll, 16, W_ND_SLL_LO))
		return -1;
	return write_nd_option(skb, m, m->nd_tll, 0, W_ND_TLL_LO);
}

/* Next-hop MTU of an ICMP error that the pipeline builds. */
static __always_inline int write_mtu(struct __sk_buff *skb, struct machine *m)
{
	__be32 old = bpf_htonl(m->wire[W_ICMP_MTU]);
	__be32 new = bpf_htonl(m->w[W_ICMP_MTU]);

	if (old == new)
		return 0;
	if (bpf_l4_csum_replace(skb, m->l4 + 2, old, new, 4))
		return -1;
	return store(skb, m->l4 + 4, &new, 4);
}

/* The identifier of a query: not that of an error, whose word is the quote's. */
static __always_inline int write_icmp_id(struct __sk_buff *skb,
					 struct machine *m)
{
	__be16 old = bpf_htons(m->wire[W_ICMP_ID]);
	__be16 new = bpf_htons(m->w[W_ICMP_ID]);

	if ((m->w[W_NAT] | m->wire[W_NAT]) & NAT_QUOTE)
		return write_quote(skb);
	if (old == new)
		return 0;
	if (bpf_l4_csum_replace(skb, m->l4 + 2, old, new, 2))
		return -1;
	return store(skb, m->l4 + 4, &new, 2);
}

static __always_inline int write_l4(struct __sk_buff *skb, struct machine *m)
{
	__be32 old = bpf_htonl(m->wire[W_L4]), new = bpf_htonl(m->w[W_L4]);
	__u32 csum = l4_csum_at(m);
	__be16 sum;
	__u8 icmp[2];

	if (old == new)
		return 0;
	if (m->w[W_CLASS] & (CLASS_ICMP4 | CLASS_ICMP6)) {
		icmp[0] = m->w[W_L4] >> 16;
		icmp[1] = m->w[W_L4];
		if (bpf_l4_csum_replace(
			    skb, csum,
			    bpf_htons((m->wire[W_L4] >> 8 & 0xff00) |
				      (m->wire[W_L4] & 0xff)),
			    bpf_htons(icmp[0] << 8 | icmp[1]), 2))
			return -1;
		return store(skb, m->l4, icmp, 2);
	}
	if (m->w[W_CLASS] & CLASS_SCTP)
		return store_summed(skb, m->l4, &new, 4) || sctp_checksum(skb);
	if (m->w[W_CLASS] & CLASS_UDP) {
		if (bpf_skb_load_bytes(skb, csum, &sum, sizeof(sum)))
			return -1;
		if (!sum)
			return store_summed(skb, m->l4, &new, 4);
	}
	if (csum && bpf_l4_csum_replace(skb, csum, old, new, udp_flag(m) | 4))
		return -1;
	return store(skb, m->l4, &new, 4);
}

static __always_inline int write_ip(struct __sk_buff *skb, struct machine *m)
{
	if (!m->ip_end)
		return 0;
	if (m->w[W_CLASS] & CLASS_IP4 ? write_ip4(skb, m) : write_ip6(skb, m))
		return -1;
	if (!m->l4)
		return 0;
	if (m->w[W_CLASS] & (CLASS_ICMP4 | CLASS_ICMP6) &&
	    (write_mtu(skb, m) || write_icmp_id(skb, m)))
		return -1;
	if (m->w[W_CLASS] & CLASS_ICMP6 && write_nd(skb, m))
		return -1;
	return write_l4(skb, m);
}

__noinline int deparse(struct __sk_buff *skb)
{
	struct machine *m = machine();
	__u32 changed = 0;

	if (!m)
		return -DROP_NO_STATE;
	if (skb->mark != m->w[W_PKT_MARK])
		skb->mark = m->w[W_PKT_MARK];
	if (write_eth(skb, m))
		return -DROP_REWRITE;
	for (int i = W_ETH_TYPE_TCI; i <= W_ICMP_MTU; i++)
		changed |= m->w[i] ^ m->wire[i];
	changed |= m->w[W_ICMP_ID] ^ m->wire[W_ICMP_ID];
	changed |= (m->w[W_NAT] | m->wire[W_NAT]) & NAT_QUOTE;
	if (changed) {
		if (m->w[W_CLASS] & (CLASS_IP4 | CLASS_IP6) && write_ip(skb, m))
			return -DROP_REWRITE;
		if (m->w[W_CLASS] & (CLASS_ARP | CLASS_RARP) &&
		    write_arp(skb, m))
			return -DROP_REWRITE;
		if (write_vlan(skb, m))
			return -DROP_REWRITE;
	}
	__builtin_memcpy(&m->wire[W_ETH_HI], &m->w[W_ETH_HI],
			 (MAX_WORDS - W_ETH_HI) * sizeof(__u32));
	return 0;
}
