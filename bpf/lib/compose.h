/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Putting a packet together in generated[]: its headers, its sum.
 */
#pragma once

#include "lib/csum.h"
#include "lib/machine.h"

#define IP4_L4 (ETH_BYTES + IP4_BYTES)
#define IP6_L4 (ETH_BYTES + IP6_BYTES)

#define TTL_ICMP 255

#define CSUM_CHUNK 512 /* most that bpf_csum_diff takes on all kernels */

/* Room for the packet being put together: in force when gen_tail moves on. */
static __always_inline struct generated *next_answer(const struct machine *m)
{
	__u32 index = m->gen_tail & (MAX_GENERATED - 1);

	return bpf_map_lookup_elem(&generated, &index);
}

/* Ethernet addresses in two halves, as words have them. */
struct macs {
	__u32 dst_hi, dst_lo, src_hi, src_lo;
};

/* Which way an answer goes: as the packet went (bodies turn it) or back. */
static __always_inline struct macs macs_of(const __u32 *w, int back)
{
	struct macs macs = {
		.dst_hi = w[W_ETH_HI] >> 16,
		.dst_lo = w[W_ETH_DST_LO],
		.src_hi = w[W_ETH_HI] & 0xffff,
		.src_lo = w[W_ETH_SRC_LO],
	};
	struct macs turned = {
		.dst_hi = macs.src_hi,
		.dst_lo = macs.src_lo,
		.src_hi = macs.dst_hi,
		.src_lo = macs.dst_lo,
	};

	return back ? turned : macs;
}

static __always_inline void put_mac(__u8 *p, __u32 hi, __u32 lo)
{
	WRITE_BE16(p, hi);
	WRITE_BE32(p + 2, lo);
}

static __always_inline void put_eth(__u8 *p, struct macs macs, __u16 type)
{
	put_mac(p, macs.dst_hi, macs.dst_lo);
	put_mac(p + 6, macs.src_hi, macs.src_lo);
	WRITE_BE16(p + 12, type);
}

/* IPv4 header; returns the sum of the pseudo header. */
static __always_inline __u64 put_ip4(__u8 *ip, __u32 src, __u32 dst, __u8 proto,
				     __u8 ttl, __u32 payload)
{
	__u64 addrs = (__u64)bpf_htonl(src) + bpf_htonl(dst);
	__u64 sum;

	WRITE_BE32(ip, 0x45000000 | (IP4_BYTES + payload));
	WRITE_BE32(ip + 4, 0x4000); /* no identification, do not fragment */
	WRITE_BE32(ip + 8, (__u32)ttl << 24 | (__u32)proto << 16);
	WRITE_BE32(ip + 12, src);
	WRITE_BE32(ip + 16, dst);
	sum = addrs + *(__u32 *)ip + *(__u32 *)(ip + 4) + *(__u32 *)(ip + 8);
	*(__u16 *)(ip + 10) = csum_finish(sum);
	return addrs + bpf_htonl(proto) + bpf_htonl(payload);
}

/* IPv6 header between the four words at src and dst; likewise. */
static __always_inline __u64 put_ip6(__u8 *ip, const __u32 *src,
				     const __u32 *dst, __u8 proto, __u8 ttl,
				     __u32 payload)
{
	__u64 sum = bpf_htonl(proto) + (__u64)bpf_htonl(payload);

	WRITE_BE32(ip, 0x60000000);
	WRITE_BE32(ip + 4, payload << 16 | (__u32)proto << 8 | ttl);
	for (int i = 0; i < 4; i++) {
		WRITE_BE32(ip + 8 + 4 * i, src[i]);
		WRITE_BE32(ip + 24 + 4 * i, dst[i]);
		sum += (__u64)bpf_htonl(src[i]) + bpf_htonl(dst[i]);
	}
	return sum;
}

/* Sum of n (a constant, a multiple of 4) bytes. */
static __always_inline __u64 sum_bytes(const __u8 *p, __u32 n)
{
	__u64 sum = 0;

	for (__u32 i = 0; i < n; i += 4)
		sum += *(__u32 *)(p + i);
	return sum;
}

/*
 * Ethernet and IP header of an answer to the packet whose words are w. Returns
 * where the L4 header goes; pseudo becomes the sum of the pseudo header.
 */
static __always_inline __u32 put_headers(__u8 *data, const __u32 *w, int back,
					 __u8 proto, __u8 ttl, __u32 payload,
					 __u64 *pseudo)
{
	struct macs macs = macs_of(w, back);
	__u32 src, dst;

	if (w[W_CLASS] & CLASS_IP4) {
		src = back ? w[W_IP4_DST] : w[W_IP4_SRC];
		dst = back ? w[W_IP4_SRC] : w[W_IP4_DST];
		put_eth(data, macs, ETHERTYPE_IP);
		*pseudo = put_ip4(data + ETH_BYTES, src, dst, proto, ttl,
				  payload);
		return IP4_L4;
	}
	put_eth(data, macs, ETHERTYPE_IPV6);
	if (back)
		*pseudo = put_ip6(data + ETH_BYTES, &w[W_IP6_DST0],
				  &w[W_IP6_SRC0], proto, ttl, payload);
	else
		*pseudo = put_ip6(data + ETH_BYTES, &w[W_IP6_SRC0],
				  &w[W_IP6_DST0], proto, ttl, payload);
	return IP6_L4;
}

/* Sum of size bytes from a place in the answer on, zeros behind them. */
static __always_inline __s64 sum_data(struct generated *g, __u32 at, __u32 size)
{
	__s64 sum = 0;

	size = (size + 3) & ~3U;
	for (__u32 i = 0; i < 3; i++) {
		__u32 n = size > CSUM_CHUNK ? CSUM_CHUNK : size;

		if (n)
			sum = bpf_csum_diff(
				0, 0, (void *)(g->data + at + i * CSUM_CHUNK),
				n, sum);
		if (sum < 0)
			return sum;
		size -= n;
	}
	return sum;
}
