/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * From a header to the key of its connection. Both directions give one key:
 * TCP, UDP and SCTP order the endpoints, ICMP puts the one that asks first (so
 * that two hosts may ping each other with the same identifier, which are two
 * connections), other protocols order the addresses.
 */
#pragma once

#include "lib/bpf.h"
#include "iomodules/conntrack/conntrack_maps.h"

#define ICMP_ECHO_REPLY 0
#define ICMP_UNREACHABLE 3
#define ICMP_QUENCH 4
#define ICMP_REDIRECT 5
#define ICMP_ECHO 8
#define ICMP_TIME_EXCEEDED 11
#define ICMP_PARAMETER 12
#define ICMP_TIMESTAMP 13
#define ICMP_TIMESTAMP_REPLY 14
#define ICMP_INFO 15
#define ICMP_INFO_REPLY 16

#define ICMPV6_UNREACHABLE 1
#define ICMPV6_PARAMETER 4
#define ICMPV6_ECHO 128
#define ICMPV6_ECHO_REPLY 129

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "order_ip4() builds struct conn_key least byte first"
#endif

/* A key as 64-bit words. */
typedef __u64 key_word __attribute__((may_alias));

enum icmp_role {
	ICMP_OTHER, /* not tracked */
	ICMP_ASKS,
	ICMP_ANSWERS,
	ICMP_ERROR,
};

static __always_inline __u32 is_icmp(__u32 family, __u32 proto)
{
	return family == 4 ? proto == PROTO_ICMP : proto == PROTO_ICMPV6;
}

static __always_inline __u32 has_ports(__u32 proto)
{
	return proto == PROTO_TCP || proto == PROTO_UDP || proto == PROTO_SCTP;
}

static __always_inline enum icmp_role icmp_role(__u32 family, __u32 type)
{
	if (family == 6) {
		if (type == ICMPV6_ECHO)
			return ICMP_ASKS;
		if (type == ICMPV6_ECHO_REPLY)
			return ICMP_ANSWERS;
		return type >= ICMPV6_UNREACHABLE && type <= ICMPV6_PARAMETER ?
			       ICMP_ERROR :
			       ICMP_OTHER;
	}
	switch (type) {
	case ICMP_ECHO:
	case ICMP_TIMESTAMP:
	case ICMP_INFO:
		return ICMP_ASKS;
	case ICMP_ECHO_REPLY:
	case ICMP_TIMESTAMP_REPLY:
	case ICMP_INFO_REPLY:
		return ICMP_ANSWERS;
	case ICMP_UNREACHABLE:
	case ICMP_QUENCH:
	case ICMP_REDIRECT:
	case ICMP_TIME_EXCEEDED:
	case ICMP_PARAMETER:
		return ICMP_ERROR;
	default:
		return ICMP_OTHER;
	}
}

/*
 * A key that also tells which endpoint sends: of connections with NAT, where a
 * packet and the answer to it belong to different ones (struct ct_fresh_map).
 */
#define KEY_DIRECTED 0x40
#define KEY_FROM_1 0x80

static __always_inline void key_directed(struct conn_key *key, __u32 from)
{
	*(key_word *)key |= (__u64)(KEY_DIRECTED | (from ? KEY_FROM_1 : 0))
			    << 24;
}

static __always_inline void key_plain(struct conn_key *key)
{
	*(key_word *)key &= ~((__u64)(KEY_DIRECTED | KEY_FROM_1) << 24);
}

/* Type of the request that an answer (or the request itself) belongs to. */
static __always_inline __u32 icmp_request(__u32 type)
{
	switch (type) {
	case ICMP_ECHO_REPLY:
		return ICMP_ECHO;
	case ICMP_TIMESTAMP_REPLY:
		return ICMP_TIMESTAMP;
	case ICMP_INFO_REPLY:
		return ICMP_INFO;
	case ICMPV6_ECHO_REPLY:
		return ICMPV6_ECHO;
	default:
		return type;
	}
}

/* 1 if a comes behind b. */
static __always_inline __u32 is_behind(const __u32 *a, const __u32 *b)
{
	for (int i = 0; i < 4; i++)
		if (a[i] != b[i])
			return a[i] > b[i];
	return 0;
}

static __always_inline void swap_addresses(struct conn_key *key)
{
	for (int i = 0; i < 4; i++) {
		__u32 addr = key->addr0[i];

		key->addr0[i] = key->addr1[i];
		key->addr1[i] = addr;
	}
}

/*
 * Key of an IPv4 packet with ports (or none: 0). In whole 64-bit words, for the
 * lookup reads it right away: a load that spans younger, narrower stores waits
 * for them (10 ns measured).
 */
static __always_inline void order_ip4(struct ct_scratch *s, __u32 zone,
				      __u32 proto, __u32 src, __u32 dst,
				      __u32 sport, __u32 dport)
{
	key_word *key = (key_word *)&s->key;
	__u32 behind = src > dst || (src == dst && sport > dport);

	key[0] = zone | proto << 16 | 4 << 24 |
		 (__u64)(behind ? dport : sport) << 32 |
		 (__u64)(behind ? sport : dport) << 48;
	key[1] = 0;
	key[2] = (__u64)(behind ? dst : src) << 32;
	key[3] = 0;
	key[4] = (__u64)(behind ? src : dst) << 32;
	s->from = behind;
}

/*
 * Put a key filled from a packet (addr0 and sport: its source) in order; sets
 * the sending endpoint.
 */
static __always_inline void order_ports(struct ct_scratch *s, __u32 sport,
					__u32 dport)
{
	struct conn_key *key = &s->key;
	__u32 behind;

	if (key->family == 4)
		return order_ip4(s, key->zone, key->proto, key->addr0[3],
				 key->addr1[3], sport, dport);
	behind = is_behind(key->addr0, key->addr1) ||
		 (!is_behind(key->addr1, key->addr0) && sport > dport);
	if (behind)
		swap_addresses(key);
	key->port[0] = behind ? dport : sport;
	key->port[1] = behind ? sport : dport;
	s->from = behind;
}

/* The same for ICMP; -1 if such a message does not belong to a connection. */
static __always_inline int order_icmp(struct ct_scratch *s, __u32 type,
				      __u32 code, __u32 id)
{
	enum icmp_role role = icmp_role(s->key.family, type);

	if ((role != ICMP_ASKS && role != ICMP_ANSWERS) || code)
		return -1;
	s->from = role == ICMP_ANSWERS;
	if (s->from)
		swap_addresses(&s->key);
	s->key.port[0] = id;
	s->key.port[1] = icmp_request(type);
	return 0;
}

/* Read the packet that an ICMP error quotes; its key then (related.bpf.c). */
int ct_read_quote(struct __sk_buff *skb);
int ct_related(void);
