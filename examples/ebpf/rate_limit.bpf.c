// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * Limits what each IP address may send: a token bucket for each, which fills
 * with rate bytes a second up to burst bytes. Frames that find too few tokens are
 * dropped. What is not IP (ARP, say) passes, and so do the addresses of exempt.
 *
 * Two CPUs that work on packets of one address at the same time may take tokens
 * twice: the limit is kept to within a packet for each CPU, without a lock.
 */
#include <iovisor_ovn/module.h>

#define ETH_BYTES 14
#define IP4_SOURCE 12 /* in the IP header */
#define IP6_SOURCE 8
#define SECOND_NS 1000000000ULL
#define MAX_EXEMPT 4

const volatile __u64 rate = 1000000; /* bytes a second */
const volatile __u64 burst = 100000; /* bytes at once */
const volatile iom_ip4 exempt[MAX_EXEMPT];

/* An IPv4 address lies in the last word, behind zeros. */
struct address {
	__be32 word[4];
};

struct bucket {
	__u64 bytes; /* tokens left at filled_ns */
	__u64 filled_ns; /* CLOCK_MONOTONIC */
	__u64 passed; /* packets */
	__u64 dropped;
};

/* Addresses not heard of for the longest time make room for new ones. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct address);
	__type(value, struct bucket);
} buckets SEC(".maps");

/* 1 if the packet has a source address. */
static __always_inline int source_of(struct __sk_buff *skb,
				     struct address *source)
{
	if (skb->protocol == bpf_htons(0x0800))
		return !bpf_skb_load_bytes(skb, ETH_BYTES + IP4_SOURCE,
					   &source->word[3], 4);
	if (skb->protocol == bpf_htons(0x86dd))
		return !bpf_skb_load_bytes(skb, ETH_BYTES + IP6_SOURCE,
					   source->word, 16);
	return 0;
}

static __always_inline int is_exempt(struct __sk_buff *skb, __be32 address)
{
	if (skb->protocol != bpf_htons(0x0800))
		return 0;
	for (int i = 0; i < MAX_EXEMPT; i++)
		if (address && exempt[i] == address)
			return 1;
	return 0;
}

/* Tokens that have come since, without overflow after a long silence. */
static __always_inline __u64 filled(const struct bucket *bucket, __u64 now)
{
	__u64 since = now - bucket->filled_ns, bytes;

	if (since > SECOND_NS * 60)
		return burst;
	/* In microseconds, so that rates up to 300 GB a second fit. */
	bytes = bucket->bytes + since / 1000 * rate / 1000000;
	return bytes < burst ? bytes : burst;
}

IOMODULE(rate_limit)
{
	struct bucket fresh = {}, *bucket;
	struct address source = {};
	__u64 now = bpf_ktime_get_ns(), bytes;

	if (!source_of(skb, &source) || is_exempt(skb, source.word[3]))
		return IOM_PASS;
	bucket = bpf_map_lookup_elem(&buckets, &source);
	if (!bucket) {
		fresh.bytes = burst;
		fresh.filled_ns = now;
		bpf_map_update_elem(&buckets, &source, &fresh, BPF_NOEXIST);
		bucket = bpf_map_lookup_elem(&buckets, &source);
		if (!bucket)
			return IOM_DROP;
	}
	bytes = filled(bucket, now);
	if (bytes < skb->len) {
		bucket->dropped++;
		return IOM_DROP;
	}
	bucket->bytes = bytes - skb->len;
	bucket->filled_ns = now;
	bucket->passed++;
	return IOM_PASS;
}

char _license[] SEC("license") = "GPL";
