// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * Replies (RFC 2131, section 4.3 and table 3): what is in them, and where they
 * go (section 4.1). Options stand in this order: type, server, times, those of the
 * pool as far as the client takes them, the client's identifier (RFC 6842), and
 * what a relay agent put in, last (RFC 3046, section 2.2).
 */
#include "iomodules/dhcp/parts.h"
#include "lib/compose.h"

#define MESSAGE_AT (IP4_L4 + UDP_BYTES) /* in the frame */
#define OPTIONS_AT (MESSAGE_AT + DHCP_AT)
#define UDP_BYTES 8

#define BOOTREPLY 2
#define MIN_MESSAGE 300 /* RFC 1542, section 2.1 */
#define MIN_DATAGRAM 576 /* every client takes it (RFC 2131, section 2) */
#define MAX_DATAGRAM 1500
#define TTL 64

#define PORT_SERVER 67
#define PORT_CLIENT 68
#define BROADCAST 0x8000 /* flags */

#define HEAD_BYTES 9 /* type, server */
#define TIMES_BYTES 18 /* lease, T1, T2 */

#define REFUSAL "not your address" /* for people who look at a NAK */
#define REFUSAL_BYTES (sizeof(REFUSAL) - 1)

struct reply {
	struct dhcp_scratch *s;
	const struct dhcp_pool *pool;
};

static __always_inline void put_number(__u8 *p, __u8 code, __u32 value)
{
	p[0] = code;
	p[1] = 4;
	WRITE_BE32(p + 2, value);
}

/* Half and seven eighths of the lease (RFC 2131, section 4.4.5). */
static __always_inline void put_times(__u8 *p, __u32 lease_s)
{
	__u32 for_ever = lease_s == 0xffffffff;

	put_number(p, OPTION_LEASE, lease_s);
	put_number(p + 6, OPTION_T1, for_ever ? lease_s : lease_s / 2);
	put_number(p + 12, OPTION_T2,
		   for_ever ? lease_s : (__u32)((__u64)lease_s * 7 / 8));
}

static __always_inline void put_refusal(__u8 *p)
{
	p[0] = OPTION_MESSAGE;
	p[1] = REFUSAL_BYTES;
	__builtin_memcpy(p + 2, REFUSAL, REFUSAL_BYTES);
}

/* Count the next option of the pool in, if there is room. */
static long count_option(__u32 i, void *arg)
{
	struct reply *reply = arg;
	struct dhcp_scratch *s = reply->s;
	__u32 at = s->counted, size;

	(void)i;
	if (at + 2 > reply->pool->options_size)
		return 1;
	size = reply->pool->options[(at + 1) & (MAX_DHCP_OPTIONS - 1)] + 2;
	if (size > s->room)
		return 1;
	s->room -= size;
	s->counted = at + size;
	return 0;
}

/* As many of the pool's options as there is room for. */
static __always_inline void put_options(struct generated *g,
					struct dhcp_scratch *s,
					const struct dhcp_pool *pool)
{
	struct reply reply = {.s = s, .pool = pool};
	const __u8 *from = pool->options;
	__u8 *to = g->data + (s->reply_at & 0x1ff);

	s->counted = 0;
	bpf_loop(MAX_DHCP_OPTIONS / 2, count_option, &reply, 0);
	/*
	 * A fixed number of bytes: a length that varies costs the verifier. What
	 * follows takes the place of those that are too many.
	 */
	for (__u32 i = 0; i < MAX_DHCP_OPTIONS; i += 8)
		*(__u64 *)(to + i) = *(const __u64 *)(from + i);
	s->reply_at += s->counted;
}

/* Copy an option of the message, if it is there. */
static __always_inline int echo(struct __sk_buff *skb, struct generated *g,
				struct dhcp_scratch *s, __u32 value_at,
				__u32 value_size)
{
	__u32 at = s->reply_at, size = value_size + 2;

	if (!value_size)
		return 0;
	asm volatile("" : "+r"(at), "+r"(size));
	if (at > MAX_GENERATED_BYTES - 512 || size < 2 || size > 257 ||
	    bpf_skb_load_bytes(skb, value_at - 2, g->data + at, size))
		return -DROP_GENERATE;
	s->reply_at = at + size;
	return 0;
}

/* END, zeros up to the least size and to whole words; the message's size. */
static __always_inline int finish(struct generated *g, struct dhcp_scratch *s)
{
	__u32 at = s->reply_at, size;
	__u8 *p;

	asm volatile("" : "+r"(at));
	if (at > MAX_GENERATED_BYTES - 512)
		return -DROP_GENERATE;
	p = g->data + at;
	p[0] = OPTION_END;
	for (__u32 i = 0; i < 64; i += 8)
		*(__u64 *)(p + 1 + i) = 0;
	size = (at + 1 - MESSAGE_AT + 3) & ~3U;
	return size < MIN_MESSAGE ? MIN_MESSAGE : size;
}

/*
 * Bytes that the client takes beside the options that there are in any case. Global
 * so that the verifier does not follow each of its ways through what comes behind.
 */
__noinline __u32 dhcp_room(__u32 has_times)
{
	struct dhcp_scratch *s = dhcp_message();
	__u32 used = IP4_BYTES + UDP_BYTES + DHCP_AT + HEAD_BYTES + 1;
	__u32 max;

	if (!s)
		return 0;
	max = s->max_size;
	if (max < MIN_DATAGRAM)
		max = MIN_DATAGRAM;
	if (max > MAX_DATAGRAM)
		max = MAX_DATAGRAM;
	max &= ~3U; /* messages are whole words */
	used += has_times ? TIMES_BYTES : 0;
	used += s->id_size ? s->id_size + 2 : 0;
	used += s->relay_size ? s->relay_size + 2 : 0;
	return used < max ? max - used : 0;
}

/* The fixed part of the message; what is not set is 0. */
static __always_inline void put_header(__u8 *p, const struct dhcp_scratch *s,
				       __u32 type, __u32 yiaddr)
{
	__u32 flags = s->flags;

	for (__u32 i = 0; i < MIN_MESSAGE; i += 4)
		*(__u32 *)(p + i) = 0;
	/* The relay agent shall broadcast it (RFC 2131, section 4.3.2). */
	if (type == DHCP_NAK && s->giaddr)
		flags |= BROADCAST;
	WRITE_BE32(p, BOOTREPLY << 24 | 0x010600);
	*(__u32 *)(p + 4) = *(const __u32 *)(s->message + 4); /* xid */
	WRITE_BE32(p + 8, flags);
	WRITE_BE32(p + 12, type == DHCP_ACK ? s->ciaddr : 0);
	WRITE_BE32(p + 16, yiaddr);
	WRITE_BE32(p + 24, s->giaddr);
	put_mac(p + 28, s->mac_hi, s->mac_lo);
	WRITE_BE32(p + 236, DHCP_COOKIE);
}

/* Ethernet, IP and UDP header. */
static __always_inline int put_way(struct generated *g, const struct machine *m,
				   const struct dhcp_scratch *s,
				   const struct dhcp_pool *pool, __u32 type,
				   __u32 yiaddr, __u32 size)
{
	struct macs macs = {
		.dst_hi = m->w[W_ETH_HI] & 0xffff,
		.dst_lo = m->w[W_ETH_SRC_LO],
		.src_hi = pool->mac_hi,
		.src_lo = pool->mac_lo,
	};
	__u32 port = PORT_CLIENT, dst;
	__u8 *udp = g->data + IP4_L4;
	__u64 pseudo;
	__s64 sum;

	if (type == DHCP_ACK && !yiaddr) { /* to an INFORM */
		dst = s->ciaddr;
	} else if (s->giaddr) {
		dst = s->giaddr;
		port = PORT_SERVER;
	} else if (type != DHCP_NAK && s->ciaddr) {
		dst = s->ciaddr;
	} else if (type == DHCP_NAK || s->flags & BROADCAST) {
		dst = 0xffffffff;
		macs.dst_hi = 0xffff;
		macs.dst_lo = 0xffffffff;
	} else {
		dst = yiaddr;
		macs.dst_hi = s->mac_hi;
		macs.dst_lo = s->mac_lo;
	}
	put_eth(g->data, macs, ETHERTYPE_IP);
	pseudo = put_ip4(g->data + ETH_BYTES, pool->server_ip, dst, PROTO_UDP,
			 TTL, UDP_BYTES + size);
	WRITE_BE32(udp, PORT_SERVER << 16 | port);
	WRITE_BE32(udp + 4, (UDP_BYTES + size) << 16);
	sum = sum_data(g, IP4_L4, UDP_BYTES + size);
	if (sum < 0)
		return -DROP_GENERATE;
	*(__u16 *)(udp + 6) = csum_finish(sum + pseudo) ?: 0xffff;
	g->len = MESSAGE_AT + size;
	return 0;
}

__noinline int dhcp_reply(struct __sk_buff *skb, __u32 type, __u32 yiaddr)
{
	struct dhcp_scratch *s = dhcp_message();
	struct machine *m = machine();
	struct generated *g;
	struct dhcp_pool *pool;
	__u32 message_at;
	int size;

	if (!s || !m)
		return -DROP_NO_STATE;
	g = next_answer(m);
	pool = bpf_map_lookup_elem(&dhcp_pools, &s->pool);
	if (!g || !pool)
		return -DROP_NO_STATE;
	put_header(g->data + MESSAGE_AT, s, type, yiaddr);
	g->data[OPTIONS_AT] = OPTION_TYPE;
	g->data[OPTIONS_AT + 1] = 1;
	g->data[OPTIONS_AT + 2] = type;
	put_number(g->data + OPTIONS_AT + 3, OPTION_SERVER, pool->server_ip);
	s->reply_at = OPTIONS_AT + HEAD_BYTES;
	if (yiaddr) {
		put_times(g->data + OPTIONS_AT + HEAD_BYTES, s->lease_s);
		s->reply_at += TIMES_BYTES;
	}
	if (type == DHCP_NAK) {
		put_refusal(g->data + OPTIONS_AT + HEAD_BYTES);
		s->reply_at += 2 + REFUSAL_BYTES;
	} else {
		s->room = dhcp_room(yiaddr);
		put_options(g, s, pool);
	}
	message_at = m->l4 + UDP_BYTES;
	if (echo(skb, g, s, message_at + s->id_at, s->id_size) ||
	    echo(skb, g, s, message_at + s->relay_at, s->relay_size))
		return -DROP_GENERATE;
	size = finish(g, s);
	if (size < 0)
		return size;
	return put_way(g, m, s, pool, type, yiaddr, size);
}
