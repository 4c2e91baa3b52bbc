// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* ARP requests, neighbour solicitations and advertisements. */
#include "iomodules/icmp/answers.h"

#define ARP_BYTES 28
#define ND_BYTES 32 /* ICMPv6 header, target, one link-layer option */

#define ICMP6_NS 135
#define ICMP6_NA 136
#define ND_ROUTER 0x80000000
#define ND_SOLICITED 0x40000000
#define ND_OVERRIDE 0x20000000

static __always_inline int arp_request(struct generated *g,
				       const struct machine *m)
{
	__u8 *arp = g->data + ETH_BYTES;

	if (!(m->w[W_CLASS] & CLASS_IP4))
		return -DROP_GENERATE;
	put_eth(g->data, macs_of(m->w, 0), ETHERTYPE_ARP);
	WRITE_BE32(arp, 0x00010800);
	WRITE_BE32(arp + 4, 0x06040001);
	put_mac(arp + 8, m->w[W_ETH_HI] & 0xffff, m->w[W_ETH_SRC_LO]);
	WRITE_BE32(arp + 14, m->w[W_IP4_SRC]);
	put_mac(arp + 18, 0, 0);
	WRITE_BE32(arp + 24, m->w[W_IP4_DST]);
	g->len = ETH_BYTES + ARP_BYTES;
	return 0;
}

/* ND message with one option that holds the sender's MAC address. */
static __always_inline void put_nd(struct generated *g, struct macs macs,
				   const __u32 *src, const __u32 *dst,
				   const __u32 *target, __u32 type, __u32 flags)
{
	__u8 *nd = g->data + IP6_L4;
	__u64 sum;

	put_eth(g->data, macs, ETHERTYPE_IPV6);
	sum = put_ip6(g->data + ETH_BYTES, src, dst, PROTO_ICMPV6, TTL_ICMP,
		      ND_BYTES);
	WRITE_BE32(nd, type << 24);
	WRITE_BE32(nd + 4, flags);
	for (int i = 0; i < 4; i++)
		WRITE_BE32(nd + 8 + 4 * i, target[i]);
	WRITE_BE16(nd + 24, (type == ICMP6_NS ? 1 : 2) << 8 | 1);
	put_mac(nd + 26, macs.src_hi, macs.src_lo);
	*(__u16 *)(nd + 2) = csum_finish(sum + sum_bytes(nd, ND_BYTES));
	g->len = IP6_L4 + ND_BYTES;
}

/* Advertisement of the target asked for, from the address that was asked. */
static __always_inline int advertisement(struct generated *g,
					 const struct machine *m, __u32 verb)
{
	__u32 type = m->w[W_L4] >> 16;
	__u32 flags = ND_SOLICITED | ND_OVERRIDE;

	if (!(m->w[W_CLASS] & CLASS_ICMP6) || !m->l4 ||
	    (type != ICMP6_NS && type != ICMP6_NA))
		return -DROP_GENERATE;
	if (verb == OP_GEN_ND_NA_ROUTER)
		flags |= ND_ROUTER;
	put_nd(g, macs_of(m->w, 1), &m->w[W_ND_TARGET0], &m->w[W_IP6_SRC0],
	       &m->w[W_ND_TARGET0], ICMP6_NA, flags);
	return 0;
}

/* Solicitation to the group of the packet's destination (RFC 4291, 2.7.1). */
static __always_inline int solicitation(struct generated *g, struct machine *m)
{
	__u32 hi = m->w[W_ETH_HI] & 0xffff, lo = m->w[W_ETH_SRC_LO];
	__u32 low24 = m->w[W_IP6_DST3] & 0xffffff;
	struct macs macs = {
		.dst_hi = 0x3333,
		.dst_lo = 0xff000000 | low24,
		.src_hi = hi,
		.src_lo = lo,
	};
	__u32 *src = m->key, *dst = m->key + 4;

	if (!(m->w[W_CLASS] & CLASS_IP6))
		return -DROP_GENERATE;
	/* Link-local address of the source MAC (RFC 4291, appendix A). */
	src[0] = 0xfe800000;
	src[1] = 0;
	src[2] = (hi ^ 0x0200) << 16 | (lo >> 24) << 8 | 0xff;
	src[3] = 0xfe000000 | (lo & 0xffffff);
	dst[0] = 0xff020000;
	dst[1] = 0;
	dst[2] = 1;
	dst[3] = 0xff000000 | low24;
	put_nd(g, macs, src, dst, &m->w[W_IP6_DST0], ICMP6_NS, 0);
	return 0;
}

__noinline int answer_neighbour(struct __sk_buff *skb, __u32 verb)
{
	struct machine *m = machine();
	struct generated *g;

	(void)skb; /* words say all */
	if (!m)
		return -DROP_NO_STATE;
	g = next_answer(m);
	if (!g)
		return -DROP_NO_STATE;
	if (verb == OP_GEN_ARP)
		return arp_request(g, m);
	if (verb == OP_GEN_ND_NS)
		return solicitation(g, m);
	return advertisement(g, m, verb);
}
