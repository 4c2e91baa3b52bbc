// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * ICMP errors belong to the connection of the packet that they quote. As OVS
 * has it (lib/conntrack.c, extract_l4_icmp): the quote must come from whom the
 * error goes to, may not be a fragment, and needs eight bytes of its upper
 * header over IPv4, all of it over IPv6.
 */
#include "iomodules/conntrack/endpoints.h"
#include "iomodules/conntrack/extension.h"

#define ICMP_BYTES 8 /* of an error before the quote */

/* The quoted IPv4 header at s->at: fills addresses, s->next, s->at. */
static __always_inline int quoted_ip4(struct __sk_buff *skb, struct machine *m,
				      struct ct_scratch *s)
{
	__u32 at = s->at, header;

	if (at + IP4_BYTES > m->ip_end ||
	    bpf_skb_load_bytes(skb, at, s->header, IP4_BYTES))
		return -1;
	header = (s->header[0] & 0xf) * 4;
	if (header < IP4_BYTES || at + header > m->ip_end ||
	    READ_BE16(s->header + 6) & 0x3fff)
		return -1;
	for (int i = 0; i < 3; i++)
		m->quote_src[i] = m->quote_dst[i] = 0;
	m->quote_src[3] = READ_BE32(s->header + 12);
	m->quote_dst[3] = READ_BE32(s->header + 16);
	s->next = s->header[9];
	s->at = at + header;
	return 0;
}

static __always_inline int quoted_ip6(struct __sk_buff *skb, struct machine *m,
				      struct ct_scratch *s)
{
	__u32 at = s->at;

	if (at + IP6_BYTES > m->ip_end ||
	    bpf_skb_load_bytes(skb, at, s->header, IP6_BYTES))
		return -1;
	for (int i = 0; i < 4; i++) {
		m->quote_src[i] = READ_BE32(s->header + 8 + 4 * i);
		m->quote_dst[i] = READ_BE32(s->header + 24 + 4 * i);
	}
	s->next = s->header[6];
	s->at = at + IP6_BYTES;
	for (int i = 0; i < MAX_EXTENSIONS; i++) {
		__u32 next = s->next;

		if (!is_extension(next))
			return 0;
		if (step_extension(skb, s, m->ip_end))
			return -1;
		if (next == NEXTHDR_FRAGMENT &&
		    READ_BE16(s->header + 2) & 0xfff9)
			return -1;
	}
	return -1;
}

static __always_inline __u32 quoted_bytes(__u32 family, __u32 proto)
{
	if (family == 6 && proto == PROTO_TCP)
		return 20;
	return family == 6 && proto == PROTO_SCTP ? 12 : 8;
}

static __always_inline int quoted_l4(struct __sk_buff *skb, struct machine *m,
				     struct ct_scratch *s, __u32 family)
{
	__u32 proto = s->next;

	m->quote_proto = proto;
	m->quote_l4 = s->at;
	if (!has_ports(proto) && !is_icmp(family, proto))
		return 0;
	if (s->at + quoted_bytes(family, proto) > m->ip_end ||
	    bpf_skb_load_bytes(skb, s->at, s->header, 8))
		return -1;
	if (is_icmp(family, proto)) {
		m->quote_type = (__u32)s->header[0] << 16 | s->header[1];
		m->quote_ports = READ_BE16(s->header + 4);
		return 0;
	}
	m->quote_ports = READ_BE32(s->header);
	return m->quote_ports >> 16 && m->quote_ports & 0xffff ? 0 : -1;
}

/* Read the quote as it came: once, for NAT rewrites it in the packet. */
__noinline int ct_read_quote(struct __sk_buff *skb)
{
	struct machine *m = machine();
	struct ct_scratch *s = scratch();
	__u32 family;

	if (!m || !s)
		return -DROP_NO_STATE;
	if (m->quote)
		return 0;
	family = s->key.family;
	s->at = m->l4 + ICMP_BYTES;
	if (family == 4 ? quoted_ip4(skb, m, s) : quoted_ip6(skb, m, s))
		return -1;
	if (quoted_l4(skb, m, s, family))
		return -1;
	m->quote = m->l4 + ICMP_BYTES;
	return 0;
}

/* The quote's addresses as NAT has left them; 1 if it is not the receiver's. */
static __always_inline int fill_addresses(const struct machine *m,
					  struct conn_key *key)
{
	__u32 bits = m->w[W_NAT], differs = 0;

	for (int i = 0; i < 4; i++) {
		__u32 src = key->family == 6 ? m->w[W_IP6_SRC0 + i] :
			    i == 3	     ? m->w[W_IP4_SRC] :
					       0;
		__u32 dst = key->family == 6 ? m->w[W_IP6_DST0 + i] :
			    i == 3	     ? m->w[W_IP4_DST] :
					       0;

		key->addr0[i] = bits & NAT_QUOTE_SRC ? dst : m->quote_src[i];
		key->addr1[i] = bits & NAT_QUOTE_DST ? src : m->quote_dst[i];
		differs |= key->addr0[i] ^ dst;
	}
	return !!differs;
}

__noinline int ct_related(void)
{
	struct machine *m = machine();
	struct ct_scratch *s = scratch();
	__u32 family, l4;

	if (!m || !s)
		return -DROP_NO_STATE;
	family = s->key.family;
	if (fill_addresses(m, &s->key))
		return -1;
	s->key.proto = m->quote_proto;
	l4 = m->w[W_NAT] & NAT_QUOTE_L4 ? m->w[W_ICMP_ID] : m->quote_ports;
	if (is_icmp(family, m->quote_proto)) {
		if (order_icmp(s, m->quote_type >> 16, m->quote_type & 0xff,
			       l4))
			return -1;
	} else if (has_ports(m->quote_proto)) {
		order_ports(s, l4 >> 16, l4 & 0xffff);
	} else {
		order_ports(s, 0, 0);
	}
	s->from = !s->from; /* the error goes the other way */
	s->related = 1;
	return 0;
}
