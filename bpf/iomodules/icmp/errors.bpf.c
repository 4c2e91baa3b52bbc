// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * ICMP errors of both families. They quote the packet as the sender's peer
 * would have seen it: of a GSO packet its first segment, and with the checksum
 * that a device would have filled in.
 */
#include "iomodules/icmp/answers.h"

#define ICMP_BYTES 8
#define ICMP4_QUOTE (576 - IP4_L4 - ICMP_BYTES) /* Ethernet counts in OVN */
#define ICMP6_QUOTE (1280 - IP6_L4 - ICMP_BYTES)
#define QUOTE_MASK 0x7f /* offset of an L4 header: six bits, some extensions */
#define LOAD_CHUNK 480 /* of m->hdr, with zeros behind */
#define MAX_CHUNKS 140 /* 64 KB */

#define ICMP4_UNREACHABLE 3
#define ICMP4_HOST 1
#define ICMP4_PORT 3
#define ICMP6_UNREACHABLE 1
#define ICMP6_PROHIBITED 1
#define ICMP6_PORT 4

#define TCP_FLAGS_AT 13
#define TCP_FIN_PSH 0x09

/* A stretch of the packet to be summed up. */
struct stretch {
	struct __sk_buff *skb;
	__u32 at, end;
	__u64 sum;
	__u32 failed;
};

static long sum_chunk(__u32 i, void *arg)
{
	struct stretch *stretch = arg;
	struct machine *m = machine();
	__u32 n = stretch->end - stretch->at;
	__s64 sum;

	(void)i;
	if (!m || stretch->at >= stretch->end)
		return 1;
	if (n > LOAD_CHUNK)
		n = LOAD_CHUNK;
	stretch->failed = 1;
	/* The verifier does not conclude from at < end that n is not 0. */
	asm volatile("" : "+r"(n));
	if (!n)
		return 1;
	if (bpf_skb_load_bytes(stretch->skb, stretch->at, m->hdr, n))
		return 1;
	__builtin_memset(m->hdr + n, 0, 4);
	sum = bpf_csum_diff(0, 0, (__be32 *)m->hdr, (n + 3) & ~3U, 0);
	if (sum < 0)
		return 1;
	stretch->failed = 0;
	stretch->sum += sum;
	stretch->at += n;
	return 0;
}

/* Bytes of the datagram, of its first segment if the kernel will cut it. */
static __always_inline __u32 segment_end(const struct __sk_buff *skb,
					 const struct machine *m)
{
	__u32 end = m->l4 + m->l4_len + skb->gso_size;

	if (!skb->gso_size || !m->l4 || end > m->ip_end)
		return m->ip_end;
	return end;
}

/* Lengths and flags that segmentation changes; q is the quote's IP header. */
static __always_inline void cut_headers(const struct machine *m, __u8 *q,
					__u8 *l4, __u32 end)
{
	__u64 sum;

	if (m->w[W_CLASS] & CLASS_TCP)
		l4[TCP_FLAGS_AT] &= ~TCP_FIN_PSH;
	else
		WRITE_BE16(l4 + 4, end - m->l4);
	if (!(m->w[W_CLASS] & CLASS_IP4)) {
		WRITE_BE16(q + 4, end - IP6_L4);
		return;
	}
	sum = (__u16) ~*(__u16 *)(q + 10) + (__u64)(__u16) ~*(__u16 *)(q + 2);
	WRITE_BE16(q + 2, end - ETH_BYTES);
	*(__u16 *)(q + 10) = csum_finish(sum + *(__u16 *)(q + 2));
}

static __always_inline __u64 pseudo_sum(const __u32 *w, __u32 size)
{
	__u64 sum = bpf_htonl(w[W_IP_META] >> 24) + (__u64)bpf_htonl(size);

	if (w[W_CLASS] & CLASS_IP4)
		return sum + bpf_htonl(w[W_IP4_SRC]) + bpf_htonl(w[W_IP4_DST]);
	for (int i = 0; i < 8; i++)
		sum += bpf_htonl(w[W_IP6_SRC0 + i]);
	return sum;
}

/* Make the quote at data[at] that of the packet on a wire. */
static __always_inline int finish_quote(struct __sk_buff *skb,
					struct machine *m, struct generated *g,
					__u32 at, __u32 end)
{
	__u32 header = m->l4_len, from = m->l4 - ETH_BYTES;
	__u32 tcp = m->w[W_CLASS] & CLASS_TCP;
	struct stretch rest = {
		.skb = skb,
		.at = m->l4 + header,
		.end = end,
	};
	__u8 *l4;
	__s64 sum;

	if (!(m->w[W_CLASS] & (CLASS_TCP | CLASS_UDP)) || !m->l4 ||
	    from > QUOTE_MASK || header < 8 || header > 60 || rest.at > end ||
	    !is_partial(skb, m))
		return 0;
	l4 = g->data + at + (from & QUOTE_MASK);
	if (skb->gso_size)
		cut_headers(m, g->data + at, l4, end);
	if (tcp)
		WRITE_BE16(l4 + 16, 0);
	else
		WRITE_BE16(l4 + 6, 0);
	sum = bpf_csum_diff(0, 0, (__be32 *)l4, header & 0x3c, 0);
	if (sum < 0)
		return -DROP_GENERATE;
	rest.sum = sum + pseudo_sum(m->w, end - m->l4);
	bpf_loop(MAX_CHUNKS, sum_chunk, &rest, 0);
	if (rest.failed)
		return -DROP_GENERATE;
	if (tcp)
		*(__u16 *)(l4 + 16) = csum_finish(rest.sum);
	else
		*(__u16 *)(l4 + 6) = csum_finish(rest.sum) ?: 0xffff;
	return 0;
}

/* Quote the datagram from data[at] on; bytes quoted or negative. */
static __always_inline int quote(struct __sk_buff *skb, struct machine *m,
				 struct generated *g, __u32 at, __u32 room)
{
	__u32 end = segment_end(skb, m);
	__u32 size = end - ETH_BYTES;
	int result;

	if (size > room)
		size = room;
	if (size < IP4_BYTES)
		return -DROP_GENERATE;
	if (bpf_skb_load_bytes(skb, ETH_BYTES, g->data + at, size))
		return -DROP_GENERATE;
	__builtin_memset(g->data + at + size, 0, 4);
	result = finish_quote(skb, m, g, at, end);
	return result ? result : (int)size;
}

static __always_inline int error4(struct __sk_buff *skb, struct machine *m,
				  struct generated *g, __u32 with_port,
				  __u32 back)
{
	__u8 *icmp = g->data + IP4_L4;
	__u32 code = ICMP4_HOST;
	__u64 pseudo;
	__s64 sum;
	int size;

	size = quote(skb, m, g, IP4_L4 + ICMP_BYTES, ICMP4_QUOTE);
	if (size < 0)
		return size;
	put_headers(g->data, m->w, back, PROTO_ICMP, TTL_ICMP,
		    ICMP_BYTES + size, &pseudo);
	if (with_port && m->w[W_IP_META] >> 24 == PROTO_UDP)
		code = ICMP4_PORT;
	WRITE_BE32(icmp, ICMP4_UNREACHABLE << 24 | code << 16);
	WRITE_BE32(icmp + 4, 0);
	sum = sum_data(g, IP4_L4, ICMP_BYTES + size);
	if (sum < 0)
		return -DROP_GENERATE;
	*(__u16 *)(icmp + 2) = csum_finish(sum);
	g->len = IP4_L4 + ICMP_BYTES + size;
	return 0;
}

static __always_inline int error6(struct __sk_buff *skb, struct machine *m,
				  struct generated *g, __u32 with_port,
				  __u32 back)
{
	__u8 *icmp = g->data + IP6_L4;
	__u32 code = ICMP6_PROHIBITED;
	__u64 pseudo;
	__s64 sum;
	int size;

	size = quote(skb, m, g, IP6_L4 + ICMP_BYTES, ICMP6_QUOTE);
	if (size < 0)
		return size;
	put_headers(g->data, m->w, back, PROTO_ICMPV6, TTL_ICMP,
		    ICMP_BYTES + size, &pseudo);
	/* OVN looks at the first header only, not behind extensions. */
	if (with_port && g->data[IP6_L4 + ICMP_BYTES + 6] == PROTO_UDP)
		code = ICMP6_PORT;
	WRITE_BE32(icmp, ICMP6_UNREACHABLE << 24 | code << 16);
	WRITE_BE32(icmp + 4, 0);
	sum = sum_data(g, IP6_L4, ICMP_BYTES + size);
	if (sum < 0)
		return -DROP_GENERATE;
	*(__u16 *)(icmp + 2) = csum_finish(sum + pseudo);
	g->len = IP6_L4 + ICMP_BYTES + size;
	return 0;
}

__noinline int answer_error(struct __sk_buff *skb, __u32 with_port, __u32 back)
{
	struct machine *m = machine();
	struct generated *g;

	if (!m)
		return -DROP_NO_STATE;
	g = next_answer(m);
	if (!g)
		return -DROP_NO_STATE;
	if (m->w[W_CLASS] & CLASS_IP4)
		return error4(skb, m, g, with_port, back);
	return error6(skb, m, g, with_port, back);
}
