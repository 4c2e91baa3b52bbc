// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * A packet of a connection with NAT gets its other endpoints. Only words are
 * written: deparse() writes the packet, and the packet that an ICMP error quotes
 * (RFC 5508, section 4): there each address is that of the error's other end.
 */
#include "iomodules/conntrack/endpoints.h"
#include "iomodules/conntrack/nat.h"

static __always_inline void write_address(struct machine *m, __u32 family,
					  __u32 source, const __u32 *ip)
{
	if (family == 4) {
		m->w[source ? W_IP4_SRC : W_IP4_DST] = ip[3];
		return;
	}
	for (int i = 0; i < 4; i++)
		m->w[(source ? W_IP6_SRC0 : W_IP6_DST0) + i] = ip[i];
}

/* Ports of the packet's source and destination, of ICMP the identifier. */
static __always_inline void write_l4(struct machine *m, struct ct_scratch *s,
				     __u32 family, __u32 sport, __u32 dport)
{
	__u32 proto = s->key.proto;

	if (is_icmp(family, proto))
		m->w[W_ICMP_ID] = s->reply ? s->key.port[0] : s->nat_port[0];
	else if (!has_ports(proto))
		return;
	else if (s->related) /* the quote goes the other way */
		m->w[W_ICMP_ID] = dport << 16 | sport;
	else
		m->w[W_L4] = sport << 16 | dport;
	if (s->related)
		m->w[W_NAT] |= NAT_QUOTE_L4;
}

__noinline int nat_translate(void)
{
	struct machine *m = machine();
	struct ct_scratch *s = scratch();
	__u32 from, family, source, ip[4];

	if (!m || !s)
		return 0;
	from = !!(s->key.family & KEY_FROM_1);
	family = s->key.family & 0xf;
	source = !(s->nat_flags & CONN_SNAT) == !!s->reply;
	for (int i = 0; i < 4; i++) {
		/* The answer's source is who was asked, as it was asked. */
		__u32 first = source ? !from : from;
		__u32 original = first ? s->key.addr1[i] : s->key.addr0[i];

		ip[i] = s->reply ? original : s->nat_ip[i];
	}
	write_address(m, family, source, ip);
	m->w[W_NAT] = (m->w[W_NAT] & NAT_QUOTE) | s->key.zone;
	if (s->related)
		m->w[W_NAT] |= source ? NAT_QUOTE_DST : NAT_QUOTE_SRC;
	if (s->reply)
		write_l4(m, s, family, s->key.port[~from & 1],
			 s->key.port[from & 1]);
	else
		write_l4(m, s, family, s->nat_port[0], s->nat_port[1]);
	m->dim_valid = 0;
	return source ? CT_SNAT : CT_DNAT;
}
