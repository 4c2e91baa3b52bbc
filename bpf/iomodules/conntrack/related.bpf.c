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
	s->key.addr0[3] = READ_BE32(s->header + 12);
	s->key.addr1[3] = READ_BE32(s->header + 16);
	s->next = s->header[9];
	s->at = at + header;
	return s->key.addr0[3] == m->w[W_IP4_DST] ? 0 : -1;
}

static __always_inline int quoted_ip6(struct __sk_buff *skb, struct machine *m,
				      struct ct_scratch *s)
{
	__u32 at = s->at, differs = 0;

	if (at + IP6_BYTES > m->ip_end ||
	    bpf_skb_load_bytes(skb, at, s->header, IP6_BYTES))
		return -1;
	for (int i = 0; i < 4; i++) {
		s->key.addr0[i] = READ_BE32(s->header + 8 + 4 * i);
		s->key.addr1[i] = READ_BE32(s->header + 24 + 4 * i);
		differs |= s->key.addr0[i] ^ m->w[W_IP6_DST0 + i];
	}
	s->next = s->header[6];
	s->at = at + IP6_BYTES;
	if (differs)
		return -1;
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
				     struct ct_scratch *s)
{
	__u32 proto = s->next, family = s->key.family;
	__u32 sport, dport;

	if (!has_ports(proto) && !is_icmp(family, proto)) {
		order_ports(s, 0, 0);
		return 0;
	}
	if (s->at + quoted_bytes(family, proto) > m->ip_end ||
	    bpf_skb_load_bytes(skb, s->at, s->header, 8))
		return -1;
	if (is_icmp(family, proto))
		return order_icmp(s, s->header[0], s->header[1],
				  READ_BE16(s->header + 4));
	sport = READ_BE16(s->header);
	dport = READ_BE16(s->header + 2);
	if (!sport || !dport)
		return -1;
	order_ports(s, sport, dport);
	return 0;
}

__noinline int ct_related(struct __sk_buff *skb)
{
	struct machine *m = machine();
	struct ct_scratch *s = scratch();

	if (!m || !s)
		return -DROP_NO_STATE;
	s->at = m->l4 + ICMP_BYTES;
	if (s->key.family == 4 ? quoted_ip4(skb, m, s) : quoted_ip6(skb, m, s))
		return -1;
	s->key.proto = s->next;
	if (quoted_l4(skb, m, s))
		return -1;
	s->from = !s->from; /* the error goes the other way */
	s->related = 1;
	return 0;
}
