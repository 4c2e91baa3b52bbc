// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * Answers are put together when their verb is met, from the packet as it is
 * then, and wait in generated[] until the skb is free to become one of them.
 */
#include "iomodules/icmp/icmp.h"
#include "iomodules/icmp/compose.h"
#include "iomodules/icmp/icmp_maps.h"

#define ICMP_BYTES 8
#define ICMP4_QUOTE (576 - IP4_L4 - ICMP_BYTES) /* Ethernet counts in OVN */
#define ICMP6_QUOTE (1280 - IP6_L4 - ICMP_BYTES)
#define CSUM_CHUNK 512 /* most that bpf_csum_diff takes on all kernels */

#define ICMP4_UNREACHABLE 3
#define ICMP4_HOST 1
#define ICMP4_PORT 3
#define ICMP6_UNREACHABLE 1
#define ICMP6_PROHIBITED 1
#define ICMP6_PORT 4
#define ICMP6_NS 135
#define ICMP6_NA 136
#define ND_ROUTER 0x80000000
#define ND_SOLICITED 0x40000000
#define ND_OVERRIDE 0x20000000

#define TCP_RST 0x04
#define SCTP_INIT 1
#define SCTP_ABORT 6

/* Octets in front of csum_start of any skb that a stack sends, and more. */
#define PULL_BYTES 512

static __always_inline __u32 proto_of(const __u32 *w)
{
	return w[W_IP_META] >> 24;
}

static __always_inline int is_icmp(__u32 verb)
{
	return verb >= OP_GEN_ICMP4 && verb <= OP_GEN_ICMP6_ERROR;
}

static __always_inline int compose_arp(struct generated *g,
				       const struct machine *m)
{
	__u8 *arp = g->data + ETH_BYTES;

	if (!(m->w[W_CLASS] & CLASS_IP4))
		return -1;
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
static __always_inline void compose_nd(struct generated *g, struct macs macs,
				       const __u32 *src, const __u32 *dst,
				       const __u32 *target, __u32 type,
				       __u32 flags)
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
static __always_inline int compose_na(struct generated *g,
				      const struct machine *m, __u32 verb)
{
	__u32 type = m->w[W_L4] >> 16;
	__u32 flags = ND_SOLICITED | ND_OVERRIDE;

	if (!(m->w[W_CLASS] & CLASS_ICMP6) || !m->l4 ||
	    (type != ICMP6_NS && type != ICMP6_NA))
		return -1;
	if (verb == OP_GEN_ND_NA_ROUTER)
		flags |= ND_ROUTER;
	compose_nd(g, macs_of(m->w, 1), &m->w[W_ND_TARGET0], &m->w[W_IP6_SRC0],
		   &m->w[W_ND_TARGET0], ICMP6_NA, flags);
	return 0;
}

/* Solicitation to the group of the packet's destination (RFC 4291, 2.7.1). */
static __always_inline int compose_ns(struct generated *g, struct machine *m)
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
		return -1;
	/* Link-local address of the source MAC (RFC 4291, appendix A). */
	src[0] = 0xfe800000;
	src[1] = 0;
	src[2] = (hi ^ 0x0200) << 16 | (lo >> 24) << 8 | 0xff;
	src[3] = 0xfe000000 | (lo & 0xffffff);
	dst[0] = 0xff020000;
	dst[1] = 0;
	dst[2] = 1;
	dst[3] = 0xff000000 | low24;
	compose_nd(g, macs, src, dst, &m->w[W_IP6_DST0], ICMP6_NS, 0);
	return 0;
}

/* Sum of size bytes from a place in the answer on, zeros behind them. */
static __always_inline __s64 sum_data(struct generated *g, __u32 at, __u32 size)
{
	__s64 sum = 0;

	size = (size + 3) & ~3U;
	for (__u32 i = 0; i < 3; i++) {
		__u32 n = size > CSUM_CHUNK ? CSUM_CHUNK : size;

		if (n)
			sum = bpf_csum_diff(0, 0,
					    (void *)(g->data + at +
						     i * CSUM_CHUNK),
					    n, sum);
		if (sum < 0)
			return sum;
		size -= n;
	}
	return sum;
}

/* Quote the datagram behind the headers; bytes quoted or -1. */
static __always_inline int quote(struct __sk_buff *skb, struct generated *g,
				 __u32 at, __u32 size, __u32 room)
{
	if (size > room)
		size = room;
	if (size < IP4_BYTES)
		return -1;
	if (bpf_skb_load_bytes(skb, ETH_BYTES, g->data + at, size))
		return -1;
	__builtin_memset(g->data + at + size, 0, 4);
	return size;
}

static __always_inline int compose_icmp4(struct __sk_buff *skb,
					 struct generated *g,
					 const struct machine *m, int with_port,
					 int back)
{
	__u8 *icmp = g->data + IP4_L4;
	__u32 code = ICMP4_HOST;
	__u64 pseudo;
	__s64 sum;
	int size;

	size = quote(skb, g, IP4_L4 + ICMP_BYTES, m->ip_end - ETH_BYTES,
		     ICMP4_QUOTE);
	if (size < 0)
		return -1;
	put_headers(g->data, m->w, back, PROTO_ICMP, TTL_ICMP,
		    ICMP_BYTES + size, &pseudo);
	if (with_port && proto_of(m->w) == PROTO_UDP)
		code = ICMP4_PORT;
	WRITE_BE32(icmp, ICMP4_UNREACHABLE << 24 | code << 16);
	WRITE_BE32(icmp + 4, 0);
	sum = sum_data(g, IP4_L4, ICMP_BYTES + size);
	if (sum < 0)
		return -1;
	*(__u16 *)(icmp + 2) = csum_finish(sum);
	g->len = IP4_L4 + ICMP_BYTES + size;
	return 0;
}

static __always_inline int compose_icmp6(struct __sk_buff *skb,
					 struct generated *g,
					 const struct machine *m, int with_port,
					 int back)
{
	__u8 *icmp = g->data + IP6_L4;
	__u32 code = ICMP6_PROHIBITED;
	__u64 pseudo;
	__s64 sum;
	int size;

	size = quote(skb, g, IP6_L4 + ICMP_BYTES, m->ip_end - ETH_BYTES,
		     ICMP6_QUOTE);
	if (size < 0)
		return -1;
	put_headers(g->data, m->w, back, PROTO_ICMPV6, TTL_ICMP,
		    ICMP_BYTES + size, &pseudo);
	/* OVN looks at the first header only, not behind extensions. */
	if (with_port && g->data[IP6_L4 + ICMP_BYTES + 6] == PROTO_UDP)
		code = ICMP6_PORT;
	WRITE_BE32(icmp, ICMP6_UNREACHABLE << 24 | code << 16);
	WRITE_BE32(icmp + 4, 0);
	sum = sum_data(g, IP6_L4, ICMP_BYTES + size);
	if (sum < 0)
		return -1;
	*(__u16 *)(icmp + 2) = csum_finish(sum + pseudo);
	g->len = IP6_L4 + ICMP_BYTES + size;
	return 0;
}

static __always_inline int compose_reset(struct __sk_buff *skb,
					 struct generated *g, struct machine *m,
					 int back)
{
	__u8 *in = m->hdr;
	__u64 sum;
	__u32 at;
	__u8 *tcp;

	if (!(m->w[W_CLASS] & CLASS_TCP) || !m->l4 ||
	    bpf_skb_load_bytes(skb, m->l4, in, TCP_BYTES))
		return -1;
	at = put_headers(g->data, m->w, back, PROTO_TCP, TTL_RESET, TCP_BYTES,
			 &sum);
	tcp = g->data + at;
	WRITE_BE32(tcp, m->w[W_L4] << 16 | m->w[W_L4] >> 16);
	WRITE_BE32(tcp + 4, 0);
	WRITE_BE32(tcp + 8, READ_BE32(in + 4) + 1);
	WRITE_BE32(tcp + 12, 0x50140000); /* five words, RST and ACK, window 0 */
	WRITE_BE32(tcp + 16, 0);
	*(__u16 *)(tcp + 16) = csum_finish(sum + sum_bytes(tcp, TCP_BYTES));
	g->len = at + TCP_BYTES;
	return 0;
}

/* RFC 4960, 8.4: 1 if the packet is one that gets no answer. */
static __always_inline int compose_abort(struct __sk_buff *skb,
					 struct generated *g, struct machine *m,
					 int back)
{
	__u8 *in = m->hdr;
	__u32 tag, crc, at, flags = 1;
	__u64 pseudo;
	__u8 *sctp;

	if (!(m->w[W_CLASS] & CLASS_SCTP) || !m->l4 ||
	    m->ip_end < m->l4 + ABORT_BYTES ||
	    bpf_skb_load_bytes(skb, m->l4, in, ABORT_BYTES))
		return -1;
	if (in[12] == SCTP_ABORT)
		return 1;
	tag = READ_BE32(in + 4);
	if (in[12] == SCTP_INIT) {
		if (m->ip_end < m->l4 + 2 * ABORT_BYTES ||
		    bpf_skb_load_bytes(skb, m->l4 + ABORT_BYTES, in + 16, 4))
			return -1;
		if (!tag) {
			tag = READ_BE32(in + 16);
			flags = 0;
		}
	}
	at = put_headers(g->data, m->w, back, PROTO_SCTP, TTL_RESET,
			 ABORT_BYTES, &pseudo);
	sctp = g->data + at;
	WRITE_BE32(sctp, m->w[W_L4] << 16 | m->w[W_L4] >> 16);
	WRITE_BE32(sctp + 4, tag);
	WRITE_BE32(sctp + 8, 0);
	WRITE_BE32(sctp + 12, SCTP_ABORT << 24 | flags << 16 | 4);
	crc = crc32c(sctp, ABORT_BYTES);
	WRITE_BE32(sctp + 8, __builtin_bswap32(crc));
	g->len = at + ABORT_BYTES;
	return 0;
}

/* reject{} never answers a reset, nor an error about unreachability. */
static __always_inline int is_beyond_reject(const struct machine *m)
{
	__u32 type = m->w[W_L4] >> 16;

	if (m->w[W_CLASS] & CLASS_TCP)
		return !m->l4 || m->w[W_TCP_FLAGS] & TCP_RST;
	if (m->w[W_CLASS] & CLASS_ICMP4)
		return !m->l4 || type == ICMP4_UNREACHABLE;
	if (m->w[W_CLASS] & CLASS_ICMP6)
		return !m->l4 || type == ICMP6_UNREACHABLE;
	return 0;
}

/* The verb that reject{} stands for: its answers go straight back. */
static __always_inline __u32 reject_verb(const struct machine *m)
{
	if (m->w[W_CLASS] & CLASS_TCP)
		return OP_GEN_TCP_RESET;
	if (m->w[W_CLASS] & CLASS_SCTP)
		return OP_GEN_SCTP_ABORT;
	return OP_GEN_ICMP4;
}

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

/* What a controller's packet-out restores: registers, not what ct said. */
static __always_inline void keep_words(__u32 *to, const __u32 *from)
{
	__builtin_memcpy(to, from, MAX_WORDS * sizeof(__u32));
	for (int i = W_CT_STATE; i <= W_PKT_MARK; i++)
		to[i] = 0;
}

/*
 * Give the packet itself to the agent until the neighbour is known. The key is
 * what the flows resolve: reg0 or reg0-3 behind outport.
 */
__noinline int hold(struct __sk_buff *skb, __u32 verb)
{
	struct machine *m = machine();
	__u32 zero = 0, n = skb->len;
	struct event *event;
	struct hold *hold;

	hold = bpf_map_lookup_elem(&holds, &zero);
	if (!m || !hold)
		return -DROP_NO_STATE;
	/* A GSO packet is cut: whole segments of it are worth keeping. */
	if (n > EVENT_DATA_SIZE) {
		if (!skb->gso_size)
			return -DROP_GENERATE;
		n = EVENT_DATA_SIZE;
	}
	event = &hold->event;
	event->kind = EVENT_HOLD;
	event->len = n;
	event->dp = m->w[W_DATAPATH];
	event->port = m->w[W_OUTPORT];
	event->ip[0] = verb == OP_GEN_ARP ? 0 : m->w[W_REG0];
	event->ip[1] = verb == OP_GEN_ARP ? 0 : m->w[W_REG1];
	event->ip[2] = verb == OP_GEN_ARP ? 0 : m->w[W_REG2];
	event->ip[3] = verb == OP_GEN_ARP ? m->w[W_REG0] : m->w[W_REG3];
	event->gso_size = skb->gso_size;
	event->partial = is_partial(skb, m);
	keep_words(event->words, m->w);
	event->words[W_PKT_MARK] = m->w[W_PKT_MARK];
	if (n < ETH_BYTES || bpf_skb_load_bytes(skb, 0, hold->data, n) ||
	    bpf_ringbuf_output(&events, hold, sizeof(hold->event) + n, 0))
		return -DROP_GENERATE;
	return 0;
}

/* Answer put together: 0; none to be given: 1; not possible: -1. */
static __noinline int compose(struct __sk_buff *skb, struct machine *m,
			      struct generated *g, __u32 verb)
{
	int back = verb == OP_GEN_REJECT;
	int with_port;

	if (!m->ip_end)
		return -1;
	if (back) {
		if (is_beyond_reject(m))
			return 1;
		verb = reject_verb(m);
	}
	switch (verb) {
	case OP_GEN_ARP:
		return compose_arp(g, m);
	case OP_GEN_ND_NS:
		return compose_ns(g, m);
	case OP_GEN_ND_NA:
	case OP_GEN_ND_NA_ROUTER:
		return compose_na(g, m, verb);
	case OP_GEN_TCP_RESET:
		return compose_reset(skb, g, m, back);
	case OP_GEN_SCTP_ABORT:
		return compose_abort(skb, g, m, back);
	default:
		break;
	}
	if (!is_icmp(verb))
		return -1;
	with_port = verb == OP_GEN_ICMP4 || verb == OP_GEN_ICMP6;
	if (m->w[W_CLASS] & CLASS_IP4)
		return compose_icmp4(skb, g, m, with_port, back);
	return compose_icmp6(skb, g, m, with_port, back);
}

/* The tag of the packet is on requests and errors, not on other answers. */
static __always_inline __u32 tag_of(const __u32 *w, __u32 verb)
{
	int tagged = verb == OP_GEN_ARP || is_icmp(verb) ||
		     (verb == OP_GEN_REJECT &&
		      !(w[W_CLASS] & (CLASS_TCP | CLASS_SCTP)));

	return tagged ? w[W_ETH_TYPE_TCI] & 0xffff : 0;
}

__noinline int generate_queue(struct __sk_buff *skb, __u32 verb, __u32 pc)
{
	struct machine *m = machine();
	struct generated *g;
	__u32 index;
	int result;

	if (!m)
		return -DROP_NO_STATE;
	if (m->gen_tail - m->gen_head >= MAX_GENERATED)
		return -DROP_GENERATED_FULL;
	index = m->gen_tail & (MAX_GENERATED - 1);
	g = bpf_map_lookup_elem(&generated, &index);
	if (!g)
		return -DROP_NO_STATE;
	result = deparse(skb);
	if (result)
		return result;
	if (verb == OP_GEN_ARP || verb == OP_GEN_ND_NS) {
		result = hold(skb, verb);
		if (result < 0)
			count_drop(-result & 0x3f);
	}
	g->verb = verb;
	g->pc = pc;
	g->frame_len = skb->len;
	keep_words(g->w, m->w);
	g->w[W_ETH_TYPE_TCI] = tag_of(m->w, verb);
	/* As with a controller: the packet's own way does not depend on it. */
	result = compose(skb, m, g, verb);
	if (result < 0)
		count_drop(DROP_GENERATE);
	if (!result)
		m->gen_tail++;
	return 0;
}

/*
 * Set skb->protocol to the type in the Ethernet header: a device that takes the
 * skb over as it is (bpf_redirect_peer) goes by it. The kernel looks at the
 * bytes anew when a tag is taken out of them.
 */
static __always_inline int retype(struct __sk_buff *skb)
{
	__u16 proto = bpf_htons(ETHERTYPE_VLAN);

	return bpf_skb_vlan_push(skb, proto, 1) ||
	       bpf_skb_vlan_push(skb, proto, 1) || bpf_skb_vlan_pop(skb) ||
	       bpf_skb_vlan_pop(skb);
}

/*
 * Make the skb size bytes long and forget that the device should fill in a
 * checksum: the kernel does when the place from which it counts is pulled off
 * the front. No smaller length would be allowed before that, so the packet is
 * made longer by what is pulled first.
 */
static __always_inline int resize(struct __sk_buff *skb, __u32 size)
{
	__u16 type = bpf_htons(ETHERTYPE_IP);

	if (skb->vlan_present && bpf_skb_vlan_pop(skb))
		return -1;
	if (skb->protocol != bpf_htons(ETHERTYPE_IP) &&
	    skb->protocol != bpf_htons(ETHERTYPE_IPV6)) {
		/* An ARP request of an earlier answer; only IP can shrink. */
		if (bpf_skb_store_bytes(skb, 12, &type, 2, 0) || retype(skb))
			return -1;
	}
	if (bpf_skb_change_tail(skb, size + PULL_BYTES, 0))
		return -1;
	return bpf_skb_adjust_room(skb, -PULL_BYTES, BPF_ADJ_ROOM_MAC, 0);
}

__noinline int generate_run(struct __sk_buff *skb)
{
	struct machine *m = machine();
	struct generated *g;
	__u32 index, size;
	int result;

	if (!m)
		return -DROP_NO_STATE;
	index = m->gen_head++ & (MAX_GENERATED - 1);
	g = bpf_map_lookup_elem(&generated, &index);
	if (!g)
		return -DROP_NO_STATE;
	size = g->len;
	if (size < ETH_BYTES + ARP_BYTES || size > MAX_GENERATED_BYTES)
		return -DROP_GENERATE;
	if (resize(skb, size))
		return -DROP_GENERATE;
	/* A complete checksum (skb->csum) leaves out the Ethernet header. */
	if (bpf_skb_store_bytes(skb, 0, g->data, ETH_BYTES, 0) ||
	    bpf_skb_store_bytes(skb, ETH_BYTES, g->data + ETH_BYTES,
				size - ETH_BYTES, BPF_F_RECOMPUTE_CSUM))
		return -DROP_GENERATE;
	if (skb->protocol != *(__u16 *)(g->data + 12) && retype(skb))
		return -DROP_GENERATE;
	bpf_set_hash_invalid(skb);
	result = parse(skb);
	if (result)
		return result;
	__builtin_memcpy(m->w, g->w, W_ETH_HI * sizeof(__u32));
	m->w[W_ETH_TYPE_TCI] |= g->w[W_ETH_TYPE_TCI];
	return 0;
}
