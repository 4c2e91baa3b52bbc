// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * Words to packet, of the packet that an ICMP error quotes (NAT): its addresses
 * and ports, its checksums as far as they are quoted, and the error's checksum.
 */
#include "lib/csum.h"
#include "lib/machine.h"

/* What has changed in the quote so far, as an Internet sum: new minus old. */
struct change {
	__u32 csum; /* where the error's checksum lies */
	__u64 addresses;
	__u64 ports;
};

/* Write a word, at an even offset, and let the error's checksum follow. */
static __always_inline int write_word(struct __sk_buff *skb,
				      const struct change *c, __u32 at,
				      __be32 value, __u64 *sum)
{
	__be32 old;

	if (bpf_skb_load_bytes(skb, at, &old, 4))
		return -1;
	if (old == value)
		return 0;
	*sum += (__u64)(__u32)~old + value;
	if (bpf_l4_csum_replace(skb, c->csum, old, value, 4))
		return -1;
	return bpf_skb_store_bytes(skb, at, &value, 4, 0);
}

static __always_inline int write_half(struct __sk_buff *skb,
				      const struct change *c, __u32 at,
				      __be16 old, __be16 value)
{
	if (old == value)
		return 0;
	if (bpf_l4_csum_replace(skb, c->csum, old, value, 2))
		return -1;
	return bpf_skb_store_bytes(skb, at, &value, 2, 0);
}

static __always_inline int write_ip4(struct __sk_buff *skb,
				     const struct machine *m, struct change *c)
{
	__u32 bits = m->w[W_NAT];
	__u32 src = bits & NAT_QUOTE_SRC ? m->w[W_IP4_DST] : m->quote_src[3];
	__u32 dst = bits & NAT_QUOTE_DST ? m->w[W_IP4_SRC] : m->quote_dst[3];
	__be16 sum;

	if (write_word(skb, c, m->quote + 12, bpf_htonl(src), &c->addresses) ||
	    write_word(skb, c, m->quote + 16, bpf_htonl(dst), &c->addresses) ||
	    bpf_skb_load_bytes(skb, m->quote + 10, &sum, 2))
		return -1;
	return write_half(skb, c, m->quote + 10, sum,
			  csum_finish((__u16)~sum + c->addresses));
}

static __always_inline int write_ip6(struct __sk_buff *skb,
				     const struct machine *m, struct change *c)
{
	__u32 bits = m->w[W_NAT];

	for (int i = 0; i < 4; i++) {
		__u32 src = bits & NAT_QUOTE_SRC ? m->w[W_IP6_DST0 + i] :
						   m->quote_src[i];
		__u32 dst = bits & NAT_QUOTE_DST ? m->w[W_IP6_SRC0 + i] :
						   m->quote_dst[i];

		if (write_word(skb, c, m->quote + 8 + 4 * i, bpf_htonl(src),
			       &c->addresses) ||
		    write_word(skb, c, m->quote + 24 + 4 * i, bpf_htonl(dst),
			       &c->addresses))
			return -1;
	}
	return 0;
}

static __always_inline int
write_ports(struct __sk_buff *skb, const struct machine *m, struct change *c)
{
	__u32 value = m->w[W_NAT] & NAT_QUOTE_L4 ? m->w[W_ICMP_ID] :
						   m->quote_ports;
	__u32 proto = m->quote_proto;
	__be32 word;

	if (proto == PROTO_TCP || proto == PROTO_UDP || proto == PROTO_SCTP)
		return write_word(skb, c, m->quote_l4, bpf_htonl(value),
				  &c->ports);
	if (proto != PROTO_ICMP && proto != PROTO_ICMPV6)
		return 0;
	if (bpf_skb_load_bytes(skb, m->quote_l4 + 4, &word, 4))
		return -1;
	word = bpf_htonl(value << 16 | (bpf_ntohl(word) & 0xffff));
	return write_word(skb, c, m->quote_l4 + 4, word, &c->ports);
}

/* The quoted checksum, if it is quoted. SCTP's covers what is not: it stays. */
static __always_inline int write_sum(struct __sk_buff *skb,
				     const struct machine *m,
				     const struct change *c)
{
	__u32 proto = m->quote_proto, at = m->quote_l4;
	__u64 changed = c->ports;
	__be16 old, new;

	if (proto == PROTO_TCP)
		at += 16;
	else if (proto == PROTO_UDP)
		at += 6;
	else if (proto == PROTO_ICMP || proto == PROTO_ICMPV6)
		at += 2;
	else
		return 0;
	if (proto != PROTO_ICMP)
		changed += c->addresses;
	if (at + 2 > m->ip_end)
		return 0;
	if (bpf_skb_load_bytes(skb, at, &old, 2))
		return -1;
	if (proto == PROTO_UDP && !old)
		return 0;
	new = csum_finish((__u16)~old + changed);
	if (proto == PROTO_UDP && !new)
		new = 0xffff;
	return write_half(skb, c, at, old, new);
}

__noinline int write_quote(struct __sk_buff *skb)
{
	struct machine *m = machine();
	struct change c = {};

	if (!m)
		return -DROP_NO_STATE;
	c.csum = m->l4 + 2;
	if (m->w[W_CLASS] & CLASS_IP4 ? write_ip4(skb, m, &c) :
					write_ip6(skb, m, &c))
		return -DROP_REWRITE;
	if (write_ports(skb, m, &c) || write_sum(skb, m, &c))
		return -DROP_REWRITE;
	return 0;
}
