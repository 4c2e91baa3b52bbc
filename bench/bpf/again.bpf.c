// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * A test run repeats a program on one skb, and the machine changes that skb:
 * behind a router the next run would see another MAC address and a TTL that
 * runs out. This program writes the headers anew and then jumps into the
 * program under test; what it costs itself is measured with `stub` there.
 */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define HEADER_BYTES 96 /* Ethernet, IPv6, TCP with options */

struct headers {
	__u8 bytes[HEADER_BYTES];
	__u32 port_at; /* where the source port lies, to be another each time; 0: keep */
	__u32 runs; /* since the benchmark wrote this */
};

/* The frame's beginning. Written by the benchmark. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct headers);
} headers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} under_test SEC(".maps");

SEC("tc")
int again(struct __sk_buff *skb)
{
	__u32 zero = 0;
	struct headers *h = bpf_map_lookup_elem(&headers, &zero);
	__be16 port;

	if (!h || bpf_skb_store_bytes(skb, 0, h->bytes, HEADER_BYTES, 0))
		return TC_ACT_SHOT;
	h->runs++;
	if (h->port_at) {
		port = bpf_htons(1024 + h->runs % 64000);
		if (bpf_skb_store_bytes(skb, h->port_at, &port, 2, 0))
			return TC_ACT_SHOT;
	}
	bpf_tail_call(skb, &under_test, 0);
	return TC_ACT_SHOT;
}

/* Stands in for the program under test. */
SEC("tc")
int stub(struct __sk_buff *skb)
{
	(void)skb;
	return TC_ACT_REDIRECT;
}

char _license[] SEC("license") = "Dual BSD/GPL";
