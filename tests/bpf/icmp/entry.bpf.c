// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * Stands for the machine in the tests of these IOModules: calls one function
 * on a packet whose pipeline words the test gives.
 */
#include "iomodules/fdb/fdb.h"
#include "iomodules/icmp/icmp.h"
#include "iomodules/icmp/sctp.h"
#include "iomodules/neighbour/neighbour.h"
#include "lib/machine.h"

struct machine_map machines SEC(".maps");
struct generated_map generated SEC(".maps");
struct events_map events SEC(".maps");
struct drops_map drops SEC(".maps");

/* What to call, and the packet's words and temporaries before it. */
struct order {
	__u32 op; /* enum op, or 0: OP_GENERATE of verb and run */
	__u32 verb;
	__u32 argument; /* pc of an answer, check_mac of a lookup */
	__u32 repeat; /* answers to queue */
	__u32 ifindex; /* where the result goes, 0: nowhere */
	__u32 xor_ports; /* SCTP: change of the L4 word */
	__u32 mtu; /* value for ICMP_MTU behind the answer */
	__u32 peer; /* 1: hand it to the peer of ifindex without a queue */
	__u32 set[MAX_WORDS + MAX_TEMPS]; /* 1: the word counts */
	__u32 w[MAX_WORDS + MAX_TEMPS];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct order);
} orders SEC(".maps");

/* Words and result after it. */
struct outcome {
	__s32 result;
	__u32 queued;
	__u32 runs;
	__u32 vlan_tci; /* in the skb's metadata, with bit 12 if present */
	__u32 protocol; /* skb->protocol */
	__u32 pad;
	__u32 w[MAX_WORDS + MAX_TEMPS];
	__u32 wire[MAX_WORDS];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct outcome);
} outcomes SEC(".maps");

static __always_inline int answer(struct __sk_buff *skb, struct machine *m,
				  const struct order *order,
				  struct outcome *outcome)
{
	__u32 repeat = order->repeat;
	int result;

	for (__u32 i = 0; i <= MAX_GENERATED; i++) {
		if (i >= repeat)
			break;
		result = generate_queue(skb, order->verb, order->argument);
		if (result)
			return result;
	}
	outcome->queued = m->gen_tail - m->gen_head;
	for (__u32 i = 0; i < MAX_GENERATED; i++) {
		if (m->gen_head == m->gen_tail)
			break;
		result = generate_run(skb);
		if (result)
			return result;
		outcome->runs++;
	}
	if (outcome->runs && order->mtu)
		m->w[W_ICMP_MTU] = order->mtu;
	return deparse(skb);
}

static __always_inline int call(struct __sk_buff *skb, struct machine *m,
				const struct order *order,
				struct outcome *outcome)
{
	switch (order->op) {
	case OP_NEIGH_GET:
		return neigh_get(skb);
	case OP_NEIGH_PUT:
		return neigh_put(skb);
	case OP_NEIGH_LOOKUP:
		return neigh_lookup(skb, order->argument);
	case OP_FDB_GET:
		return fdb_get(skb);
	case OP_FDB_PUT:
		return fdb_put(skb);
	case OP_FDB_LOOKUP:
		return fdb_lookup(skb);
	case OP_MOVE:
		m->w[W_L4] ^= order->xor_ports;
		return deparse(skb);
	default:
		return answer(skb, m, order, outcome);
	}
}

SEC("tc")
int entry(struct __sk_buff *skb)
{
	struct machine *m = machine();
	struct outcome *outcome;
	struct order *order;
	__u32 zero = 0;

	order = bpf_map_lookup_elem(&orders, &zero);
	outcome = bpf_map_lookup_elem(&outcomes, &zero);
	if (!m || !order || !outcome)
		return 2;
	__builtin_memset(m->w, 0, sizeof(m->w));
	m->gen_head = 5;
	m->gen_tail = 5;
	outcome->runs = 0;
	outcome->queued = 0;
	outcome->result = parse(skb);
	for (__u32 i = 0; i < MAX_WORDS + MAX_TEMPS; i++)
		if (order->set[i])
			m->w[i] = order->w[i];
	if (!outcome->result)
		outcome->result = call(skb, m, order, outcome);
	outcome->vlan_tci = skb->vlan_present ? skb->vlan_tci | TCI_PRESENT : 0;
	outcome->protocol = bpf_ntohs(skb->protocol);
	__builtin_memcpy(outcome->w, m->w, sizeof(outcome->w));
	__builtin_memcpy(outcome->wire, m->wire, sizeof(outcome->wire));
	if (order->ifindex && !outcome->result && outcome->runs)
		return order->peer ? bpf_redirect_peer(order->ifindex, 0) :
				     bpf_redirect(order->ifindex, 0);
	return 2;
}

char _license[] SEC("license") = "Dual BSD/GPL";
