// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * Packet to words. Field semantics are those of OVS's flow extraction
 * (ovs-fields(7), lib/flow.c miniflow_extract): a header that is cut or lies
 * about its length leaves the words behind it 0.
 */
#include "lib/machine.h"

#define MAX_EXTENSIONS 8
#define MAX_ND_OPTIONS 8

#define NEXTHDR_HOP 0
#define NEXTHDR_ROUTING 43
#define NEXTHDR_FRAGMENT 44
#define NEXTHDR_AUTH 51
#define NEXTHDR_DEST 60

#define ICMPV6_NS 135
#define ICMPV6_NA 136
#define ND_OPT_SLL 1
#define ND_OPT_TLL 2

/* Offset of l4 inside hdr[]; fetches the bytes when they lie beyond it. */
static __always_inline __u32 l4_bytes(struct __sk_buff *skb, struct machine *m,
				      __u32 l4, __u32 have)
{
	if (l4 + have <= PARSE_BYTES)
		return l4;
	if (have > L4_BYTES)
		have = L4_BYTES;
	if (have < 4 || bpf_skb_load_bytes(skb, l4, &m->hdr[L4_BASE], have))
		return 0;
	return L4_BASE;
}

/*
 * The link-layer address option of a neighbour message; 0 if there are two of a
 * kind, which make the message unreadable. One of a wrong length ends them.
 */
static __always_inline int
find_nd_option(struct __sk_buff *skb, struct machine *m, __u32 end, __u8 want)
{
	__u8 option[8] __attribute__((aligned(8)));
	__u32 other = 0;

	for (int i = 0; i < MAX_ND_OPTIONS; i++) {
		__u32 at = m->at;

		if (at + 8 > end || bpf_skb_load_bytes(skb, at, option, 8))
			return 1;
		if (!option[1] || at + option[1] * 8 > end)
			return 1;
		if (option[0] == want && option[1] == 1) {
			if (m->key[0] | m->key[1])
				return 0;
			m->next = at + 2;
			m->key[0] = READ_BE16(option + 2);
			m->key[1] = READ_BE32(option + 4);
		} else if (option[0] == (ND_OPT_SLL ^ ND_OPT_TLL ^ want) &&
			   option[1] == 1) {
			if (other)
				return 0;
			other = READ_BE16(option + 2) | READ_BE32(option + 4);
		}
		m->at = at + option[1] * 8;
	}
	return 1;
}

__noinline int parse_nd(struct __sk_buff *skb, __u32 l4, __u32 size, __u32 type)
{
	struct machine *m = machine();
	__u8 target[16] __attribute__((aligned(8)));

	if (!m)
		return -DROP_NO_STATE;
	m->at = l4 + 24;
	m->next = m->key[0] = m->key[1] = 0;
	if (size < 24 || bpf_skb_load_bytes(skb, l4 + 8, target, 16))
		return 0;
	if (!find_nd_option(skb, m, l4 + size,
			    type == ICMPV6_NS ? ND_OPT_SLL : ND_OPT_TLL))
		return 0;
	m->w[W_ND_TARGET0] = READ_BE32(target);
	m->w[W_ND_TARGET1] = READ_BE32(target + 4);
	m->w[W_ND_TARGET2] = READ_BE32(target + 8);
	m->w[W_ND_TARGET3] = READ_BE32(target + 12);
	if (type == ICMPV6_NS) {
		m->w[W_ND_HI] = m->key[0] << 16;
		m->w[W_ND_SLL_LO] = m->key[1];
		m->nd_sll = m->next;
	} else {
		m->w[W_ND_HI] = m->key[0];
		m->w[W_ND_TLL_LO] = m->key[1];
		m->nd_tll = m->next;
	}
	return 0;
}

/* l4: offset in the packet, size: bytes of the datagram behind it. */
__noinline int parse_l4(struct __sk_buff *skb, __u32 proto, __u32 l4,
			__u32 size)
{
	struct machine *m = machine();
	__u32 at, data_offset;
	const __u8 *p;

	if (!m)
		return -DROP_NO_STATE;
	if (proto == PROTO_TCP)
		m->w[W_CLASS] |= CLASS_TCP;
	else if (proto == PROTO_UDP)
		m->w[W_CLASS] |= CLASS_UDP;
	else if (proto == PROTO_SCTP)
		m->w[W_CLASS] |= CLASS_SCTP;
	else if (proto == PROTO_ICMP && (m->w[W_CLASS] & CLASS_IP4))
		m->w[W_CLASS] |= CLASS_ICMP4;
	else if (proto == PROTO_ICMPV6 && (m->w[W_CLASS] & CLASS_IP6))
		m->w[W_CLASS] |= CLASS_ICMP6;
	else
		return 0;
	if (m->w[W_IP_META] & FRAG_LATER || size < 8)
		return 0;
	at = l4_bytes(skb, m, l4, size < 24 ? size : 24);
	if (!at)
		return 0;
	p = &m->hdr[at & 0x1ff];
	if ((at & 0x1ff) > sizeof(m->hdr) - 24)
		return 0;

	switch (proto) {
	case PROTO_TCP:
		if (size < 20)
			return 0;
		data_offset = (p[12] >> 4) * 4;
		m->l4_len = data_offset < 20 ? 20 : data_offset;
		/* OVS reads no fields of a header that cannot be. */
		if (data_offset < 20 || data_offset > size)
			break;
		m->w[W_L4] = READ_BE32(p);
		m->w[W_TCP_FLAGS] = READ_BE16(p + 12) & 0x0fff;
		break;
	case PROTO_UDP:
		m->w[W_L4] = READ_BE32(p);
		m->l4_len = 8;
		break;
	case PROTO_SCTP:
		if (size < 12)
			return 0;
		m->w[W_L4] = READ_BE32(p);
		m->l4_len = 12;
		break;
	default:
		m->w[W_L4] = (__u32)p[0] << 16 | p[1];
		m->w[W_ICMP_ID] = READ_BE16(p + 4);
		m->l4_len = 8;
		if (proto == PROTO_ICMPV6 && !p[1] &&
		    (p[0] == ICMPV6_NS || p[0] == ICMPV6_NA))
			parse_nd(skb, l4, size, p[0]);
		break;
	}
	m->l4 = l4;
	/* OVS hides the ports of fragments from flows, of the first one too. */
	if (m->w[W_IP_META] & FRAG_ANY) {
		m->first_l4 = m->w[W_L4];
		m->w[W_L4] = 0;
	}
	return 0;
}

static __always_inline void parse_ip4(struct __sk_buff *skb, struct machine *m,
				      __u32 len, __u32 n)
{
	const __u8 *ip = &m->hdr[ETH_BYTES];
	__u32 header = (ip[0] & 0xf) * 4;
	__u32 total = READ_BE16(ip + 2);
	__u16 offset;

	if (n < ETH_BYTES + IP4_BYTES || header < IP4_BYTES)
		return;
	/* A GSO packet of more than 64 KB (BIG TCP) has no total length. */
	if (!total && skb->gso_size)
		total = len - ETH_BYTES;
	if (ETH_BYTES + total > len || header > total)
		return;
	offset = READ_BE16(ip + 6);
	if (offset & 0x3fff)
		m->frag = FRAG_ANY | (offset & 0x1fff ? FRAG_LATER : 0);
	m->w[W_IP_META] = (__u32)ip[9] << 24 | (__u32)ip[1] << 16 |
			  (__u32)ip[8] << 8 | m->frag;
	m->w[W_IP4_SRC] = READ_BE32(ip + 12);
	m->w[W_IP4_DST] = READ_BE32(ip + 16);
	m->w[W_CLASS] = CLASS_IP | CLASS_IP4;
	m->ip_end = ETH_BYTES + total;
	parse_l4(skb, ip[9], ETH_BYTES + header, total - header);
}

static __always_inline int is_extension(__u32 next)
{
	return next == NEXTHDR_HOP || next == NEXTHDR_ROUTING ||
	       next == NEXTHDR_DEST || next == NEXTHDR_AUTH ||
	       next == NEXTHDR_FRAGMENT;
}

/* Walk to the upper-layer header: sets m->at, m->next, m->frag. */
__noinline int walk_extensions(struct __sk_buff *skb, __u32 end)
{
	struct machine *m = machine();
	__u8 ext[8] __attribute__((aligned(8)));

	if (!m)
		return -DROP_NO_STATE;
	for (int i = 0; i < MAX_EXTENSIONS; i++) {
		__u32 at = m->at, next = m->next;
		__u32 length;

		if (!is_extension(next))
			return 0;
		if (at + 8 > end || bpf_skb_load_bytes(skb, at, ext, 8))
			return -DROP_PARSE;
		m->next = ext[0];
		if (next == NEXTHDR_FRAGMENT) {
			__u16 offset = READ_BE16(ext + 2);

			/* An atomic fragment (offset 0, no more) is no fragment. */
			if (offset & 0xfff9)
				m->frag = FRAG_ANY;
			m->at = at + 8;
			if (offset & 0xfff8) {
				m->frag = FRAG_ANY | FRAG_LATER;
				/* As in OVS: its protocol is "fragment". */
				m->next = NEXTHDR_FRAGMENT;
				return 0;
			}
			continue;
		}
		length = next == NEXTHDR_AUTH ? (ext[1] + 2) * 4 :
						(ext[1] + 1) * 8;
		if (at + length > end)
			return -DROP_PARSE;
		m->at = at + length;
	}
	return 0;
}

static __always_inline void parse_ip6(struct __sk_buff *skb, struct machine *m,
				      __u32 len, __u32 n)
{
	const __u8 *ip = &m->hdr[ETH_BYTES];
	__u32 payload = READ_BE16(ip + 4);
	__u32 first, end;

	if (n < ETH_BYTES + IP6_BYTES)
		return;
	m->at = ETH_BYTES + IP6_BYTES;
	m->next = ip[6];
	m->frag = 0;
	if (!payload && skb->gso_size)
		payload = len - m->at;
	end = m->at + payload;
	if (end > len || walk_extensions(skb, end))
		return;
	first = READ_BE32(ip);
	m->w[W_IP_META] = m->next << 24 | (first >> 4 & 0x00ff0000) |
			  (__u32)ip[7] << 8 | m->frag;
	m->w[W_IP6_LABEL] = first & 0xfffff;
	m->w[W_IP6_SRC0] = READ_BE32(ip + 8);
	m->w[W_IP6_SRC1] = READ_BE32(ip + 12);
	m->w[W_IP6_SRC2] = READ_BE32(ip + 16);
	m->w[W_IP6_SRC3] = READ_BE32(ip + 20);
	m->w[W_IP6_DST0] = READ_BE32(ip + 24);
	m->w[W_IP6_DST1] = READ_BE32(ip + 28);
	m->w[W_IP6_DST2] = READ_BE32(ip + 32);
	m->w[W_IP6_DST3] = READ_BE32(ip + 36);
	m->w[W_CLASS] = CLASS_IP | CLASS_IP6;
	m->ip_end = end;
	parse_l4(skb, m->next, m->at, end - m->at);
}

static __always_inline void parse_arp(struct machine *m, __u32 n, __u32 class)
{
	const __u8 *arp = &m->hdr[ETH_BYTES];

	m->w[W_CLASS] = class;
	/* Ethernet and IPv4 addresses only: the rest has no fields in OVS. */
	if (n < ETH_BYTES + 28 || READ_BE32(arp) != 0x00010800 ||
	    READ_BE16(arp + 4) != 0x0604)
		return;
	/* OVS keeps eight bits of the opcode. */
	m->w[W_ARP_OP] = READ_BE16(arp + 6) < 256 ? arp[7] : 0;
	m->w[W_ARP_HI] = READ_BE16(arp + 8) << 16 | READ_BE16(arp + 18);
	m->w[W_ARP_SHA_LO] = READ_BE32(arp + 10);
	m->w[W_ARP_SPA] = READ_BE32(arp + 14);
	m->w[W_ARP_THA_LO] = READ_BE32(arp + 20);
	m->w[W_ARP_TPA] = READ_BE32(arp + 24);
	m->l4_len = 28;
}

/*
 * The kernel moves the outer tag into skb metadata before a tc program runs.
 * A test run does not: do it here, so that the headers start at one place.
 */
static __always_inline int untag(struct __sk_buff *skb, const __u8 *hdr)
{
	__u16 type = READ_BE16(hdr + 12);
	__u16 tci = READ_BE16(hdr + 14);

	if (skb->vlan_present ||
	    (type != ETHERTYPE_VLAN && type != ETHERTYPE_QINQ))
		return 0;
	if (bpf_skb_vlan_pop(skb) ||
	    bpf_skb_vlan_push(skb, bpf_htons(type), tci))
		return -DROP_PARSE;
	return 1;
}

__noinline int parse(struct __sk_buff *skb)
{
	struct machine *m = machine();
	__u32 len = skb->len;
	__u32 n = len < PARSE_BYTES ? len : PARSE_BYTES;
	__u16 type;
	int tagged;

	if (!m)
		return -DROP_NO_STATE;
	m->l4 = m->l4_len = m->nd_sll = m->nd_tll = m->ip_end = 0;
	m->first_l4 = m->quote = 0;
	m->frag = 0;
	__builtin_memset(&m->w[W_ETH_HI], 0,
			 (MAX_WORDS - W_ETH_HI) * sizeof(__u32));
	if (n < ETH_BYTES || bpf_skb_load_bytes(skb, 0, m->hdr, n))
		return -DROP_PARSE;
	if (n >= ETH_BYTES + 4) {
		tagged = untag(skb, m->hdr);
		if (tagged < 0)
			return tagged;
		if (tagged) {
			len = skb->len;
			n = len < PARSE_BYTES ? len : PARSE_BYTES;
			if (n < ETH_BYTES ||
			    bpf_skb_load_bytes(skb, 0, m->hdr, n))
				return -DROP_PARSE;
		}
	}
	type = READ_BE16(m->hdr + 12);
	m->w[W_ETH_HI] = READ_BE16(m->hdr) << 16 | READ_BE16(m->hdr + 6);
	m->w[W_ETH_DST_LO] = READ_BE32(m->hdr + 2);
	m->w[W_ETH_SRC_LO] = READ_BE32(m->hdr + 8);
	m->w[W_ETH_TYPE_TCI] = (__u32)type << 16;
	if (skb->vlan_present)
		m->w[W_ETH_TYPE_TCI] |= (skb->vlan_tci & 0xffff) | TCI_PRESENT;
	if (type < 0x600)
		m->w[W_ETH_TYPE_TCI] = 0x05ff << 16 | /* OVS: not Ethernet II */
				       (m->w[W_ETH_TYPE_TCI] & 0xffff);
	else if (type == ETHERTYPE_IP)
		parse_ip4(skb, m, len, n);
	else if (type == ETHERTYPE_IPV6)
		parse_ip6(skb, m, len, n);
	else if (type == ETHERTYPE_ARP)
		parse_arp(m, n, CLASS_ARP);
	else if (type == ETHERTYPE_RARP)
		parse_arp(m, n, CLASS_RARP);
	/* eth.type counts even when the network header is unusable. */
	if (type == ETHERTYPE_IP)
		m->w[W_CLASS] |= CLASS_IP | CLASS_IP4;
	else if (type == ETHERTYPE_IPV6)
		m->w[W_CLASS] |= CLASS_IP | CLASS_IP6;
	__builtin_memcpy(&m->wire[W_ETH_HI], &m->w[W_ETH_HI],
			 (MAX_WORDS - W_ETH_HI) * sizeof(__u32));
	m->dim_valid = 0;
	return 0;
}
