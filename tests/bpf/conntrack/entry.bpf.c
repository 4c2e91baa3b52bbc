// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * Stands for the machine in the tests of connection tracking: reads a packet,
 * runs a few ct verbs on it and reports the words after each.
 */
#include "iomodules/conntrack/conntrack.h"
#include "lib/machine.h"

struct machine_map machines SEC(".maps");
struct generated_map generated SEC(".maps");
struct drops_map drops SEC(".maps");

#define MAX_VERBS 6
#define MARK_WORDS (T_CT_LABEL_MASK3 - T_CT_MARK + 1)

struct verb {
	__u32 op; /* OP_CT_*, or 0: none */
	__u32 zone;
	__u32 flags;
	__u32 marks[MARK_WORDS]; /* T_CT_MARK and on */
	__u32 nat_ports; /* T_NAT_PORTS */
	__u32 nat_ip[4]; /* T_NAT_IP0 and on */
};

/* What to run. Written by the test. */
struct order {
	struct verb verbs[MAX_VERBS];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct order);
} orders SEC(".maps");

/* Words after each verb, and how the packet ended. Read by the test. */
struct outcome {
	__s32 results[MAX_VERBS];
	__s32 deparsed;
	__u32 ct[MAX_VERBS][6]; /* CT_STATE to CT_LABEL3 */
	__u32 w[MAX_WORDS];
	__u32 wire[MAX_WORDS];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct outcome);
} outcomes SEC(".maps");

static __always_inline int call(struct __sk_buff *skb, struct machine *m,
				const struct verb *verb)
{
	switch (verb->op) {
	case OP_CT_NEXT:
		return ct_next(skb, verb->zone);
	case OP_CT_COMMIT:
		return ct_commit(skb, verb->zone, verb->flags);
	case OP_CT_NAT:
		return ct_nat(skb, verb->zone, verb->flags);
	case OP_CT_CLEAR:
		for (int word = W_CT_STATE; word <= W_CT_LABEL3; word++)
			m->w[word] = 0;
		return 0;
	default:
		return 0;
	}
}

SEC("tc")
int entry(struct __sk_buff *skb)
{
	struct machine *m = machine();
	struct outcome *outcome;
	struct order *order;
	__u32 zero = 0;
	int state = 0;

	order = bpf_map_lookup_elem(&orders, &zero);
	outcome = bpf_map_lookup_elem(&outcomes, &zero);
	if (!m || !order || !outcome)
		return 2;
	__builtin_memset(m->w, 0, sizeof(m->w));
	if (parse(skb))
		return 2;
	for (__u32 i = 0; i < MAX_VERBS; i++) {
		const struct verb *verb = &order->verbs[i];

		if (!verb->op)
			break;
		if (verb->flags) {
			__builtin_memcpy(&m->w[T_CT_MARK], verb->marks,
					 sizeof(verb->marks));
			__builtin_memcpy(&m->w[T_NAT_IP0], verb->nat_ip,
					 sizeof(verb->nat_ip));
			m->w[T_NAT_PORTS] = verb->nat_ports;
		}
		outcome->results[i] = call(skb, m, verb);
		__builtin_memcpy(outcome->ct[i], &m->w[W_CT_STATE],
				 sizeof(outcome->ct[i]));
		if (!i)
			state = m->w[W_CT_STATE];
	}
	__builtin_memcpy(outcome->w, m->w, sizeof(outcome->w));
	__builtin_memcpy(outcome->wire, m->wire, sizeof(outcome->wire));
	outcome->deparsed = deparse(skb);
	/* What the packet itself saw, where two CPUs share the outcome. */
	return state;
}
