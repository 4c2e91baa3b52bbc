// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * The yardstick: a lookup with a 64-byte key in a hash map made as the
 * machine makes its own. `nothing` is the loop without the lookup.
 */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#define LOOKUPS 1000 /* per run; bench/packet.py knows the number */
#define HOT_KEYS 64

struct long_key {
	__u32 word[16];
};

/* As entries16 of the machine. Filled by the benchmark. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 20);
	__type(key, struct long_key);
	__type(value, __u64);
} filled SEC(".maps");

/*
 * The keys that are asked for, in turn. Few, so that they stay in the cache, as
 * do the entries for one packet that is sent again and again.
 */
struct asked {
	struct long_key key[HOT_KEYS];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct asked);
} asked SEC(".maps");

struct state {
	struct asked *asked;
	__u64 sum; /* keeps the compiler from leaving the loop out */
};

static long look_up(__u32 i, void *arg)
{
	struct state *state = arg;
	__u64 *value;

	value = bpf_map_lookup_elem(&filled, &state->asked->key[i % HOT_KEYS]);
	if (value)
		state->sum += *value;
	return 0;
}

static long do_nothing(__u32 i, void *arg)
{
	struct state *state = arg;

	state->sum += state->asked->key[i % HOT_KEYS].word[0];
	return 0;
}

/* Return the sum of what was found: the benchmark knows what it must be. */
SEC("tc")
int lookups(struct __sk_buff *skb)
{
	struct state state = {};
	__u32 zero = 0;

	(void)skb;
	state.asked = bpf_map_lookup_elem(&asked, &zero);
	if (!state.asked)
		return -1;
	bpf_loop(LOOKUPS, look_up, &state, 0);
	return state.sum;
}

SEC("tc")
int nothing(struct __sk_buff *skb)
{
	struct state state = {};
	__u32 zero = 0;

	(void)skb;
	state.asked = bpf_map_lookup_elem(&asked, &zero);
	if (!state.asked)
		return -1;
	bpf_loop(LOOKUPS, do_nothing, &state, 0);
	return state.sum;
}

char _license[] SEC("license") = "Dual BSD/GPL";
