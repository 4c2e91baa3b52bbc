// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* Packets that go to the agent: to wait for a neighbour, or for a service. */
#include "iomodules/icmp/answers.h"
#include "iomodules/icmp/icmp_maps.h"

/* How long a question is waited for; 0: each packet asks, as ovn-controller's. */
const volatile __u64 ask_every_ns = 0;

/* What the flows resolve: reg0 or xxreg0, behind outport. */
static __always_inline void next_hop(const struct machine *m, __u32 verb,
				     struct neigh_key *key)
{
	int is_ip4 = verb == OP_GEN_ARP;

	key->dp = m->w[W_DATAPATH];
	key->port = m->w[W_OUTPORT];
	key->ip[0] = is_ip4 ? 0 : m->w[W_REG0];
	key->ip[1] = is_ip4 ? 0 : m->w[W_REG1];
	key->ip[2] = is_ip4 ? 0 : m->w[W_REG2];
	key->ip[3] = is_ip4 ? m->w[W_REG0] : m->w[W_REG3];
}

__noinline int may_ask(__u32 verb)
{
	struct machine *m = machine();
	struct neigh_key key = {};
	__u64 now, *last;

	if (!ask_every_ns || !m)
		return 1;
	next_hop(m, verb, &key);
	now = bpf_ktime_get_ns();
	last = bpf_map_lookup_elem(&asked, &key);
	if (last && now - *last < ask_every_ns)
		return 0;
	bpf_map_update_elem(&asked, &key, &now, BPF_ANY);
	return 1;
}

/*
 * Give the packet itself to the agent: for a service (OP_PUNT), or until the
 * neighbour is known, whose key is what the flows resolve: reg0 or reg0-3 behind
 * outport.
 */
__noinline int answer_hold(struct __sk_buff *skb, __u32 verb)
{
	struct machine *m = machine();
	__u32 zero = 0, n = skb->len;
	struct event *event;
	struct neigh_key key;
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
	event->kind = verb == OP_PUNT ? EVENT_PACKET : EVENT_HOLD;
	event->len = n;
	event->dp = m->w[W_DATAPATH];
	event->port = m->w[verb == OP_PUNT ? W_INPORT : W_OUTPORT];
	next_hop(m, verb, &key);
	__builtin_memcpy(event->ip, key.ip, sizeof(key.ip));
	event->gso_size = skb->gso_size;
	event->partial = is_partial(skb, m);
	__builtin_memcpy(event->words, m->w, sizeof(event->words));
	/* What the zone has translated it must know when the packet is back. */
	event->words[W_CT_STATE] |= m->w[W_NAT] << 16;
	if (n < ETH_BYTES || bpf_skb_load_bytes(skb, 0, hold->data, n) ||
	    bpf_ringbuf_output(&events, hold, sizeof(hold->event) + n, 0))
		return -DROP_GENERATE;
	return 0;
}

__noinline int punt(struct __sk_buff *skb)
{
	return answer_hold(skb, OP_PUNT);
}
