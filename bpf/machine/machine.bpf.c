// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * The machine: entry programs, the loop over stages and action programs, the
 * work stack, and the output stage. One packet is worked on to its end in one
 * run of the program: patch ports jump to the peer's pipeline, clones and
 * multicast groups wait on the work stack as snapshots of the words, every
 * emission but the last is a clone of the skb.
 */
#include "machine/machine_maps.h"

#include "iomodules/conntrack/conntrack.h"
#include "iomodules/fdb/fdb.h"
#include "iomodules/icmp/icmp.h"
#include "iomodules/loadbalancer/loadbalancer.h"
#include "iomodules/neighbour/neighbour.h"
#include "iomodules/user/user.h"
#include "machine/classify.h"

#include <iovisor_ovn/module.h>

#define VERDICT_DROP 2 /* TC_ACT_SHOT */
#define VERDICT_PASS -1 /* TC_ACT_UNSPEC: on as if we were not there */
#define MULTICAST_KEYS 32768 /* first key of a multicast group */
#define FIRST_PACKET_WORD W_ETH_HI
#define FLAG_NESTED (1 << 5) /* flags register: came from a nested port */
#define FLAG_LOCALPORT (1 << 10) /* flags register: came from a localport */
#define LB_NATTED                                                              \
	2 /* ct_mark, or ct_label: a load balancer chose the destination */

/*
 * Instructions that read and write words only, or what is learned: a segment
 * replays them. All others are executed for each packet (so is OUTPUT to a
 * group, see there).
 */
#define REPEATABLE_OPS                                                         \
	(1ULL << OP_END | 1ULL << OP_LOAD | 1ULL << OP_MOVE |                  \
	 1ULL << OP_NEXT | 1ULL << OP_CALL | 1ULL << OP_OUTPUT |               \
	 1ULL << OP_DELIVER | 1ULL << OP_DEC_TTL | 1ULL << OP_CT_CLEAR |       \
	 1ULL << OP_COUNT | 1ULL << OP_NEIGH_GET | 1ULL << OP_NEIGH_PUT |      \
	 1ULL << OP_NEIGH_LOOKUP | 1ULL << OP_FDB_GET | 1ULL << OP_FDB_PUT |   \
	 1ULL << OP_FDB_LOOKUP)

#define ENTRY_INGRESS 0
#define HANDED_OVER 2 /* m->busy: to the next run */
#define ENTERED 0x100 /* no verdict */

int ingress(struct __sk_buff *skb);

/*
 * Key: ENTRY_*. Value: a program that goes on with a packet. Written at load, read
 * by hand_over(). Pinned, as `modules` is. Nothing can be full.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, int(struct __sk_buff *));
} entries SEC(".maps") = {
	.values = {[ENTRY_INGRESS] = &ingress},
};

/*
 * A device that the host keeps using is two ports: its wire, whose packets
 * come by the ingress hook, and the host's own stack, whose packets come by the
 * egress hook. What we send to the wire meets the egress hook in its turn, and
 * what we send to the host the ingress hook; this value of tc_index lets it
 * through. It lies in the skb, so that a redirect that fails leaves nothing
 * behind, and the kernel itself writes it only behind our hooks. They clear it:
 * the next of our hooks may be that of another chain.
 */
#define OURS 0x6f76 /* "ov" */
#define DONE 0x6f77 /* to be dropped: see conclude() */
#define SIDES (PORT_F_WIRE | PORT_F_HOST)

struct context {
	struct __sk_buff *skb;
	struct machine *m;
};

static __always_inline void end_strand(struct machine *m, __u32 drop)
{
	if (drop)
		count_drop(drop);
	m->drop = drop;
	m->run = RUN_END;
}

/* A verb that returned a negative drop reason ends the strand. */
static __always_inline void check(struct machine *m, int result)
{
	if (result < 0)
		end_strand(m, -result);
}

static __always_inline void goto_stage(struct machine *m, __u32 stage)
{
	m->stage = stage;
	m->run = RUN_STAGE;
}

static __always_inline struct work *push_work(struct machine *m, __u32 kind)
{
	struct work *work;

	if (m->depth >= MAX_WORK_DEPTH)
		return 0;
	work = &m->work[m->depth & (MAX_WORK_DEPTH - 1)];
	m->depth++;
	work->kind = kind;
	return work;
}

static __always_inline void push_snapshot(struct machine *m, __u32 kind,
					  __u32 pc, __u32 list)
{
	struct work *work = push_work(m, kind);

	if (!work) {
		count_drop(DROP_WORK_FULL);
		return;
	}
	work->pc = pc;
	work->list = list;
	work->pos = 0;
	__builtin_memcpy(work->w, m->w, sizeof(work->w));
}

static __always_inline void clear_registers(struct machine *m)
{
	for (int i = W_REG0; i <= W_REG9; i++)
		put(m, i, 0);
}

static __always_inline void clear_conntrack(struct machine *m)
{
	for (int i = W_CT_STATE; i <= W_CT_LABEL3; i++)
		put(m, i, 0);
}

static __always_inline struct port *find_port(struct machine *m)
{
	struct port_key key = {
		.dp = m->w[W_DATAPATH],
		.port = m->w[W_OUTPORT],
	};

	consult(m, W_DATAPATH, 0xffffffff);
	consult(m, W_OUTPORT, 0xffffffff);
	return bpf_map_lookup_elem(&ports, &key);
}

/* Conntrack gives a later fragment the ports of the first. */
static __always_inline void forget_restored(struct machine *m)
{
	if (m->frag)
		m->dim_valid = 0;
}

static __always_inline void set_groups(struct machine *m, __u32 dim, __u32 list)
{
	m->dim_list[dim] = list;
	m->dim_valid |= 1ULL << dim;
}

/* Whether a port is the one by which the packet came, and gets none back. */
static __always_inline int goes_back(const struct machine *m, __u32 outport)
{
	return m->w[W_INPORT] == outport && !(m->w[W_FLAGS] & FLAG_LOOPBACK);
}

/* Local output: the egress pipeline of one port of this hypervisor. */
static __always_inline void enter_egress(struct machine *m,
					 const struct port *port)
{
	consult(m, W_INPORT, 0xffffffff);
	consult(m, W_OUTPORT, 0xffffffff);
	consult(m, W_FLAGS, FLAG_LOCALPORT | FLAG_LOOPBACK);
	if (port->kind == PORT_REMOTE)
		return end_strand(m, m->w[W_FLAGS] & FLAG_LOCALPORT ?
					     DROP_LOCALPORT :
					     DROP_REMOTE);
	if (port->kind == PORT_NONE)
		return end_strand(m, DROP_NO_PORT);
	if (goes_back(m, m->w[W_OUTPORT]))
		return end_strand(m, DROP_LOOPBACK);
	/* A port to a router has none: what is tracked stays with the sender. */
	if (port->zone)
		put(m, W_CT_ZONE, port->zone);
	set_groups(m, DIM_OUTPORT, port->groups);
	clear_registers(m);
	goto_stage(m, MAX_EGRESS);
}

static __always_inline void output(struct machine *m)
{
	struct port *port = find_port(m);

	if (!port)
		return end_strand(m, DROP_UNKNOWN_PORT);
	if (port->kind == PORT_MULTICAST) {
		cut(m, m->pc - 1);
		push_snapshot(m, WORK_MULTICAST, 0, port->list);
		return end_strand(m, 0);
	}
	enter_egress(m, port);
}

/* Where the rows of a datapath's stages begin for a packet of this class. */
static __always_inline __u32 pipeline_of(const struct dp *dp, __u32 index,
					 __u32 class)
{
	__u32 kind = KIND_OTHER;

	if (class & CLASS_IP4)
		kind = class & CLASS_ICMP4 ? KIND_ICMP4 : KIND_IP4;
	else if (class & CLASS_IP6)
		kind = class & CLASS_ICMP6 ? KIND_ICMP6 : KIND_IP6;
	return ((index * 2 + (dp->bank & 1)) * MAX_KINDS + kind) * MAX_STAGES;
}

/* The words that belong to a datapath rather than to the packet. */
static __always_inline int enter_datapath(struct machine *m, __u32 index)
{
	struct dp *dp = bpf_map_lookup_elem(&dps, &index);

	if (!dp)
		return -DROP_NO_DATAPATH;
	put(m, W_DATAPATH, index);
	put(m, W_DNAT_ZONE, dp->dnat_zone);
	put(m, W_SNAT_ZONE, dp->snat_zone);
	put(m, W_PIPELINE, pipeline_of(dp, index, m->w[W_CLASS]));
	m->dim_valid &= ~DIM_PORTS;
	return 0;
}

/* A patch port: on with the ingress pipeline of the peer's datapath. */
static __always_inline void enter_peer(struct machine *m, struct port *port)
{
	int result = enter_datapath(m, port->peer_dp);

	if (result)
		return end_strand(m, -result);
	clear_registers(m);
	put(m, W_FLAGS, 0);
	clear_conntrack(m);
	put(m, W_INPORT, port->peer_port);
	put(m, W_OUTPORT, 0);
	put(m, W_CT_ZONE, 0);
	goto_stage(m, 0);
}

/* The skb itself goes out. */
static __always_inline int send_original(struct __sk_buff *skb,
					 const struct machine *m)
{
	__u32 ifindex = m->exit.ifindex;
	__u32 flags = m->exit.flags;
	__u32 side = flags & SIDES;

	if (side && m->side && side != m->side && ifindex == skb->ifindex)
		return VERDICT_PASS; /* it is on its way there */
	if (side)
		skb->tc_index = OURS;
	if (side == PORT_F_HOST)
		return bpf_redirect(ifindex, BPF_F_INGRESS);
	/* The kernel skips to the other end only from an ingress hook. */
	if (flags & PORT_F_PEER && m->side != PORT_F_HOST)
		return bpf_redirect_peer(ifindex, 0);
	return bpf_redirect(ifindex, 0);
}

static __always_inline long send_clone(struct __sk_buff *skb,
				       const struct machine *m)
{
	__u32 flags = m->exit.flags & PORT_F_HOST ? BPF_F_INGRESS : 0;
	__u32 ifindex = m->exit.ifindex;
	long result;

	if (!(m->exit.flags & SIDES))
		return bpf_clone_redirect(skb, ifindex, 0);
	skb->tc_index = OURS;
	result = bpf_clone_redirect(skb, ifindex, flags);
	skb->tc_index = 0;
	return result;
}

/*
 * Have user's module m->call work on the packet; after_module() goes on. It
 * changes the skb, so where other copies wait a copy of its own is sent around.
 */
static __always_inline void call_module(struct __sk_buff *skb,
					struct machine *m)
{
	__u32 top;
	int result;

	if (++m->call.calls > MAX_MODULE_CALLS)
		return end_strand(m, DROP_MODULE_CALLS);
	m->run = RUN_MODULE;
	if (!m->depth)
		return;
	top = (m->depth - 1) & (MAX_WORK_DEPTH - 1);
	result = m->work[top].kind == WORK_RETURN ? -DROP_BAD_PROGRAM :
						    user_park(skb);
	end_strand(m, -result & 0x3f);
}

__noinline int call_verbs_module(struct __sk_buff *skb, __u32 number,
				 __u32 port, __u32 n_ports)
{
	struct machine *m = machine();

	if (!m)
		return 0;
	m->call.module = number;
	m->call.port = port;
	m->call.ports = n_ports;
	m->call.reach = 0;
	m->call.purpose = MODULE_FOR_VERB;
	call_module(skb, m);
	return 0;
}

/* The module before a logical port; number as in struct port. */
__noinline int call_port_module(struct __sk_buff *skb, __u32 number,
				__u32 purpose)
{
	struct machine *m = machine();

	if (!m)
		return 0;
	m->call.module = number - 1;
	m->call.port = purpose == MODULE_FROM_MACHINE ? IOM_MACHINE :
							IOM_NETWORK;
	m->call.ports = 2;
	m->call.reach = REACH_LOGICAL_PORT;
	m->call.purpose = purpose;
	call_module(skb, m);
	return 0;
}

/* Hand the packet to a device; a copy unless nothing is left to do. */
static __always_inline void emit(struct __sk_buff *skb, struct machine *m)
{
	__u32 last = !m->depth && m->gen_head == m->gen_tail && !m->inject;
	__u32 tci = m->w[W_ETH_TYPE_TCI];
	int result;

	if (m->exit.module) {
		call_port_module(skb, m->exit.module, MODULE_TO_MACHINE);
		return;
	}
	if (m->exit.tci)
		m->w[W_ETH_TYPE_TCI] = (tci & 0xffff0000) | m->exit.tci;
	result = deparse(skb);
	m->w[W_ETH_TYPE_TCI] = tci;
	if (result)
		return end_strand(m, -result);
	if (last)
		m->verdict = send_original(skb, m);
	else if (send_clone(skb, m))
		return end_strand(m, DROP_REDIRECT);
	end_strand(m, 0);
}

static __always_inline void set_exit(struct machine *m, const struct port *port)
{
	if (!port->ifindex)
		return end_strand(m, DROP_NO_PORT);
	m->exit.ifindex = port->ifindex;
	m->exit.flags = port->flags;
	m->exit.tci = port->kind == PORT_NESTED ? TCI_PRESENT | port->tag : 0;
	m->exit.module = port->module;
	m->run = RUN_EMIT;
}

static __always_inline void deliver(struct machine *m)
{
	struct port *port = find_port(m);

	if (!port)
		return end_strand(m, DROP_UNKNOWN_PORT);
	if (port->kind == PORT_PATCH)
		return enter_peer(m, port);
	set_exit(m, port);
	if (fast_path && m->recording && m->run == RUN_EMIT)
		end_segment(0, 0);
}

static __always_inline void write_word(struct machine *m, __u32 word,
				       __u32 value)
{
	m->w[word & 127] = value;
	if (word >= FIRST_PACKET_WORD && word < MAX_WORDS)
		m->dim_valid = 0;
	else if (word < W_FLAGS)
		m->dim_valid &= ~DIM_PORTS;
}

static __always_inline __u32 rotate_left(__u32 value, __u32 bits)
{
	bits &= 31;
	return bits ? value << bits | value >> (32 - bits) : value;
}

static __always_inline void dec_ttl(struct machine *m)
{
	__u32 ttl = m->w[W_IP_META] >> 8 & 0xff;

	consult(m, W_IP_META, 0xff00);
	if (ttl <= 1)
		return end_strand(m, DROP_TTL);
	m->w[W_IP_META] -= 0x100;
	overwrite(m, W_IP_META, 0xff00);
	m->dim_valid = 0;
}

static __always_inline void push(struct machine *m)
{
	__u32 at = m->stack_depth;

	if (at >= MAX_STACK)
		return end_strand(m, DROP_STACK);
	for (int i = 0; i < 4; i++)
		m->stack[(at * 4 + i) & (MAX_STACK * 4 - 1)] =
			m->w[T_SCRATCH0 + i];
	m->stack_depth = at + 1;
}

static __always_inline void pop(struct machine *m)
{
	__u32 at = m->stack_depth - 1;

	if (at >= MAX_STACK)
		return end_strand(m, DROP_STACK);
	for (int i = 0; i < 4; i++)
		m->w[T_SCRATCH0 + i] =
			m->stack[(at * 4 + i) & (MAX_STACK * 4 - 1)];
	m->stack_depth = at;
}

static __always_inline void count_unsupported(__u32 verb)
{
	__u64 *count = bpf_map_lookup_elem(&unsupported, &verb);

	if (count)
		(*count)++;
}

/* Length of the frame on the wire; of one segment if there will be several. */
static __always_inline __u32 frame_length(struct __sk_buff *skb,
					  const struct machine *m)
{
	__u32 tag = skb->vlan_present ? 4 : 0;

	if (skb->gso_size && m->l4)
		return m->l4 + m->l4_len + skb->gso_size + tag;
	return skb->len + tag;
}

/*
 * One of the backends that lie behind the instruction: its address and port into
 * T_NAT_*, m->pc behind them all. The same backend may lie there several times.
 */
static __always_inline int choose_backend(struct machine *m, __u32 at)
{
	struct insn *insn = bpf_map_lookup_elem(&insns, &at);
	__u32 count, size, chosen;

	if (!insn || !insn->x)
		return -DROP_BAD_PROGRAM;
	count = insn->x;
	size = insn->y & 1 ? 2 : 1;
	chosen = (__u64)lb_hash(insn->c) * count >> 32;
	m->pc = at + 1 + count * size;
	at += 1 + chosen * size;
	insn = bpf_map_lookup_elem(&insns, &at);
	if (!insn)
		return -DROP_BAD_PROGRAM;
	m->w[T_NAT_PORTS] = (insn->b << 8 | insn->c) * 0x10001;
	m->w[T_NAT_IP0] = m->w[T_NAT_IP1] = m->w[T_NAT_IP2] = 0;
	m->w[T_NAT_IP3] = insn->x;
	if (size == 1)
		return 0;
	m->w[T_NAT_IP0] = insn->x;
	m->w[T_NAT_IP1] = insn->y;
	at++;
	insn = bpf_map_lookup_elem(&insns, &at);
	if (!insn)
		return -DROP_BAD_PROGRAM;
	m->w[T_NAT_IP2] = insn->x;
	m->w[T_NAT_IP3] = insn->y;
	return 0;
}

/* One of the values that lie behind the instruction; m->pc behind them all. */
static __always_inline int choose_value(struct machine *m, __u32 at)
{
	struct insn *insn = bpf_map_lookup_elem(&insns, &at);
	__u64 point;

	if (!insn)
		return -DROP_BAD_PROGRAM;
	point = (__u64)lb_hash(insn->c) * insn->x;
	m->pc = at + 1 + insn->x;
	at += 1 + (point >> 32);
	insn = bpf_map_lookup_elem(&insns, &at);
	if (!insn)
		return -DROP_BAD_PROGRAM;
	m->w[T_RESULT] = (__u32)point < insn->x ? insn->y >> 16 :
						  insn->y & 0xffff;
	return 0;
}

/*
 * A load balancer has chosen the sender itself. (ovn-controller asks for addresses
 * and ports of each VIP and backend; a packet so marked has them, except for errors.)
 */
static __always_inline __u32 is_hairpin(const struct machine *m)
{
	__u32 asked = CT_TRK | CT_REL | CT_DNAT, differs = 0;

	if ((m->w[W_CT_STATE] & asked) != (CT_TRK | CT_DNAT) ||
	    !((m->w[W_CT_MARK] | m->w[W_CT_LABEL3]) & LB_NATTED))
		return 0;
	if (m->w[W_CLASS] & CLASS_IP4)
		return m->w[W_IP4_SRC] == m->w[W_IP4_DST];
	for (int i = 0; i < 4; i++)
		differs |= m->w[W_IP6_SRC0 + i] ^ m->w[W_IP6_DST0 + i];
	return !differs;
}

static __always_inline void call(struct machine *m, __u32 stage)
{
	struct work *work = push_work(m, WORK_RETURN);

	if (!work) {
		m->recording = 0; /* depends on what else is pending */
		return end_strand(m, DROP_WORK_FULL);
	}
	work->pc = m->pc;
	goto_stage(m, stage);
}

/* Verbs about what packets have taught. */
__noinline int ask_learned(struct __sk_buff *skb, __u32 op, __u32 check_mac)
{
	struct machine *m = machine();
	int result;

	if (!m)
		return -DROP_NO_STATE;
	consult(m, W_DATAPATH, 0xffffffff);
	if (op != OP_FDB_GET)
		consult(m, T_PORT, 0xffffffff);
	if (op <= OP_NEIGH_LOOKUP)
		consult_words(m, T_IP0, T_IP3);
	if (op != OP_NEIGH_GET)
		consult_words(m, T_MAC_HI, T_MAC_LO);
	switch (op) {
	case OP_NEIGH_GET:
		result = neigh_get(skb);
		overwrite(m, W_ETH_HI, 0xffff0000);
		overwrite(m, W_ETH_DST_LO, 0xffffffff);
		m->dim_valid = 0;
		break;
	case OP_NEIGH_PUT:
		result = neigh_put(skb);
		break;
	case OP_NEIGH_LOOKUP:
		result = neigh_lookup(skb, check_mac);
		overwrite(m, T_RESULT, 0xffffffff);
		break;
	case OP_FDB_GET:
		result = fdb_get(skb);
		overwrite(m, T_RESULT, 0xffffffff);
		break;
	case OP_FDB_PUT:
		result = fdb_put(skb);
		break;
	default:
		result = fdb_lookup(skb);
		overwrite(m, T_RESULT, 0xffffffff);
		break;
	}
	recall(m, result);
	return result;
}

/* Execute the instruction at m->pc. */
static __always_inline void execute(struct context *ctx, struct machine *m)
{
	struct __sk_buff *skb = ctx->skb;
	__u32 at = m->pc;
	struct insn *insn = bpf_map_lookup_elem(&insns, &at);
	__u32 a, b;
	int result;

	if (!insn)
		return end_strand(m, DROP_BAD_PROGRAM);
	if (!(REPEATABLE_OPS >> (insn->op & 63) & 1))
		cut(m, at);
	m->pc = at + 1;
	a = insn->a & 127;
	b = insn->b & 127;
	switch (insn->op) {
	case OP_END:
		end_strand(m, insn->x ? insn->x : 0);
		break;
	case OP_LOAD:
		overwrite(m, a, insn->x | insn->y);
		write_word(m, a, (m->w[a] & ~insn->x) | insn->y);
		break;
	case OP_MOVE:
		consult(m, b, rotate_left(insn->x, 32 - (insn->c & 31)));
		overwrite(m, a, insn->x);
		write_word(m, a,
			   (m->w[a] & ~insn->x) |
				   (rotate_left(m->w[b], insn->c) & insn->x));
		break;
	case OP_NEXT:
		goto_stage(m, a);
		break;
	case OP_CALL:
		call(m, a);
		break;
	case OP_FORK:
		push_snapshot(m, WORK_FORK, at + insn->x, 0);
		break;
	case OP_OUTPUT:
		output(m);
		break;
	case OP_DELIVER:
		deliver(m);
		break;
	case OP_DEC_TTL:
		dec_ttl(m);
		break;
	case OP_COUNT:
		count_packet(m, at, insn->x);
		break;
	case OP_PUNT:
		check(m, punt(skb));
		break;
	case OP_PUSH:
		push(m);
		break;
	case OP_POP:
		pop(m);
		break;
	case OP_UNSUPPORTED:
		count_unsupported(insn->x);
		end_strand(m, DROP_UNSUPPORTED);
		break;
	case OP_GENERATE:
		check(m, generate_queue(skb, a, at + 1));
		if (m->run == RUN_CODE)
			m->pc = at + insn->x;
		break;
	case OP_CHECK_LARGER:
		m->w[T_RESULT] = frame_length(skb, m) > insn->x;
		break;
	case OP_CT_NEXT:
		check(m, ct_next(skb, m->w[a]));
		forget_restored(m);
		break;
	case OP_CT_COMMIT:
		check(m, ct_commit(skb, m->w[a], b));
		if (!(b & CT_F_KEEP))
			clear_conntrack(m);
		break;
	case OP_CT_CLEAR:
		clear_conntrack(m);
		break;
	case OP_CT_NAT:
		check(m, ct_nat(skb, m->w[a], b));
		forget_restored(m);
		break;
	case OP_CT_LB:
		result = choose_backend(m, at);
		check(m, result ? result : ct_nat(skb, m->w[a], b));
		forget_restored(m);
		break;
	case OP_SELECT:
		check(m, choose_value(m, at));
		break;
	case OP_LB_HAIRPIN:
		m->w[T_RESULT] = is_hairpin(m);
		break;
	case OP_LB_HAIRPIN_REPLY:
		m->w[T_RESULT] = ct_is_answer(skb, m->w[W_SNAT_ZONE]);
		break;
	case OP_CT_SNAT_TO_VIP:
		if (ct_find_vip(skb, m->w[W_CT_ZONE]))
			check(m, ct_nat(skb, m->w[W_SNAT_ZONE],
					CT_F_COMMIT | CT_F_SNAT));
		clear_conntrack(m);
		break;
	case OP_AFFINITY_GET:
		m->w[T_RESULT] = affinity_get(a, b, insn->c & 127);
		break;
	case OP_AFFINITY_PUT:
		check(m, affinity_put(insn->c, insn->x));
		break;
	case OP_NEIGH_GET:
	case OP_NEIGH_PUT:
	case OP_NEIGH_LOOKUP:
	case OP_FDB_GET:
	case OP_FDB_PUT:
	case OP_FDB_LOOKUP:
		check(m, ask_learned(skb, insn->op, a));
		break;
	case OP_MODULE:
		call_verbs_module(skb, insn->x, a, b);
		break;
	default:
		end_strand(m, DROP_BAD_PROGRAM);
		break;
	}
}

/*
 * All that is left of a group is the port by which the packet came, which gets
 * none. It is not to keep a place on the stack while the packet goes on through
 * the member before it: a chain of switches would be no longer than the stack.
 */
static __always_inline int only_back(const struct machine *m,
				     const struct work *work, __u32 length)
{
	return work->pos + 1 == length &&
	       goes_back(m, list_at(work->list, length));
}

/* Take up what waits: 1 if nothing does. */
static __always_inline int resume(struct __sk_buff *skb, struct machine *m)
{
	struct generated *queued;
	struct port *port;
	struct work *work;
	__u32 index, length;
	int result;

	if (!m->depth) {
		if (m->gen_head == m->gen_tail)
			return 1;
		index = m->gen_head & (MAX_GENERATED - 1);
		queued = bpf_map_lookup_elem(&generated, &index);
		if (!queued)
			return 1;
		m->pc = queued->pc;
		m->run = RUN_CODE;
		m->dim_valid = 0;
		result = generate_run(skb);
		if (!result)
			result = enter_datapath(m, m->w[W_DATAPATH]);
		check(m, result);
		return 0;
	}
	work = &m->work[(m->depth - 1) & (MAX_WORK_DEPTH - 1)];
	m->pc = work->pc;
	m->run = RUN_CODE;
	if (work->kind == WORK_RETURN) {
		m->depth--;
		return 0;
	}
	__builtin_memcpy(m->w, work->w, sizeof(work->w));
	m->dim_valid = 0;
	if (work->kind == WORK_FORK) {
		m->depth--;
		return 0;
	}
	index = work->list;
	length = list_at(index, 0);
	work->pos++;
	if (work->pos >= length || only_back(m, work, length))
		m->depth--;
	if (work->pos > length) { /* a group without members */
		end_strand(m, 0);
		return 0;
	}
	m->w[W_OUTPORT] = list_at(index, work->pos);
	port = find_port(m);
	/* Where the packet came from it is not missed. */
	if (port && port->kind != PORT_MULTICAST && m->w[W_OUTPORT] &&
	    !goes_back(m, m->w[W_OUTPORT]))
		enter_egress(m, port);
	else
		end_strand(m, 0);
	return 0;
}

/*
 * A step: find the next program, or take up what waits on the work stack, then
 * execute a few instructions (several, as in try_slots()).
 */
static long step(__u32 i, void *arg)
{
	struct context *ctx = arg;
	struct machine *m = ctx->m;
	int program;

	(void)i;
	if (++m->steps > MAX_STEPS) {
		count_drop(DROP_STEP_LIMIT);
		return 1;
	}
	if (m->run == RUN_END) {
		strand_ended(m);
		return resume(ctx->skb, m);
	}
	if (m->run == RUN_MODULE)
		return 1;
	if (fast_path && m->begins) {
		replay();
		if (m->run == RUN_END || m->begins)
			return 0;
	}
	m->begins = 0;
	if (m->run == RUN_STAGE) {
		program = classify(m);
		if (program <= PROGRAM_DROP) {
			end_strand(m, program ? -program : DROP_POLICY);
			return 0;
		}
		m->pc = program;
		m->run = RUN_CODE;
	}
	/* Of 64 bits: half a stack slot the verifier would not remember. */
	for (__u64 k = 0; k < MAX_STEP_INSNS; k++) {
		if (m->run != RUN_CODE || m->begins)
			break;
		execute(ctx, m);
	}
	if (m->run == RUN_EMIT)
		emit(ctx->skb, m);
	return 0;
}

/* Take this CPU's state and read the packet: 0 or a drop reason. */
static __always_inline int begin(struct machine *m, struct __sk_buff *skb)
{
	if (!m)
		return DROP_NO_STATE;
	if (m->busy)
		return DROP_NESTED_RUN;
	m->busy = 1;
	__builtin_memset(m->w, 0, FIRST_PACKET_WORD * sizeof(__u32));
	m->w[W_PKT_MARK] = skb->mark;
	m->frame_bytes = skb->len;
	m->verdict = VERDICT_DROP;
	m->side = 0;
	m->depth = 0;
	m->gen_head = 0;
	m->gen_tail = 0;
	m->stack_depth = 0;
	m->dim_valid = 0;
	m->steps = 0;
	m->recording = 0;
	m->begins = 1;
	m->generation = generation_of(GENERATION_SET);
	m->inject = 0;
	m->call.calls = 0;
	return -parse(skb);
}

static __always_inline int is_done(const struct machine *m)
{
	return m->run == RUN_END && !m->depth && m->gen_head == m->gen_tail;
}

/* A packet that a logical port's module sends back enters as if from there. */
static __always_inline void turn_round(struct machine *m)
{
	struct port *port = find_port(m);

	if (!port)
		return end_strand(m, DROP_UNKNOWN_PORT);
	clear_registers(m);
	clear_conntrack(m);
	put(m, W_FLAGS,
	    (port->flags & PORT_F_LOCALPORT ? FLAG_LOCALPORT : 0) |
		    (port->kind == PORT_NESTED ? FLAG_NESTED : 0));
	put(m, W_INPORT, m->w[W_OUTPORT]);
	put(m, W_OUTPORT, 0);
	put(m, W_CT_ZONE, port->zone);
	goto_stage(m, 0);
}

/* To the machine, past the pipeline: what its port's module sends back to it. */
static __always_inline void send_back(struct machine *m)
{
	struct port *port;

	m->w[W_OUTPORT] = m->w[W_INPORT];
	port = find_port(m);
	if (!port)
		return end_strand(m, DROP_UNKNOWN_PORT);
	set_exit(m, port);
	m->exit.module = 0;
	m->begins = 0;
}

/* Go on with the packet that a user's module left; verdict as of user_call(). */
static __always_inline void after_module(struct machine *m, int verdict)
{
	__u32 away = m->call.purpose == MODULE_FROM_MACHINE ? IOM_NETWORK :
							      IOM_MACHINE;
	int result;

	m->begins = 1;
	m->exit.module = 0;
	if (verdict < 0)
		return end_strand(m, -verdict & 0x3f);
	result = enter_datapath(m, m->w[W_DATAPATH]);
	if (result)
		return end_strand(m, -result);
	if (m->call.purpose == MODULE_FOR_VERB) {
		m->w[T_RESULT] =
			verdict == IOM_PASS ? 0 : verdict - IOM_FIRST_PORT + 1;
		m->run = RUN_CODE;
		return;
	}
	if (verdict != IOM_PASS)
		away = verdict - IOM_FIRST_PORT;
	if (m->call.purpose == MODULE_FROM_MACHINE) {
		if (away == IOM_NETWORK)
			return goto_stage(m, 0);
		return send_back(m);
	}
	if (away == IOM_NETWORK)
		return turn_round(m);
	m->begins = 0;
	m->run = RUN_EMIT;
}

/* All is done: what becomes of the skb itself. */
static __always_inline int conclude(struct __sk_buff *skb, struct machine *m)
{
	m->busy = 0;
	if (m->side != PORT_F_HOST || m->verdict != VERDICT_DROP)
		return m->verdict;
	/*
	 * Copies may be out, and what the chain drops the network has lost. The
	 * sender must not be told of a full queue, which would slow TCP down. tcx
	 * has no verdict for that; the fate of a redirected skb nobody asks for.
	 */
	skb->tc_index = DONE;
	return bpf_redirect(skb->ifindex, 0);
}

/*
 * The work on a packet goes on in another run of the program ingress: a user's
 * module adds no frame to the deepest calls from here then, and the verifier
 * reads the greater part of the machine once only.
 */
static __always_inline int hand_over(struct __sk_buff *skb, struct machine *m)
{
	m->busy = HANDED_OVER;
	bpf_tail_call(skb, &entries, ENTRY_INGRESS);
	count_drop(DROP_MODULE_CALLS);
	return conclude(skb, m);
}

/* One segment is all that most packets need. */
static __always_inline void take_segment(struct __sk_buff *skb,
					 struct machine *m)
{
	if (fast_path && (m->run == RUN_STAGE || m->run == RUN_CODE))
		replay();
	if (m->run == RUN_EMIT)
		emit(skb, m);
}

/* The device of an untagged packet, from the map once in a generation. */
static __always_inline struct device *find_untagged(struct machine *m,
						    __u32 ifindex)
{
	struct entrance *entrance = &m->entrances[ifindex & (ENTRANCES - 1)];
	struct device_key key = {.ifindex = ifindex};
	struct device *device;

	if (entrance->ifindex == ifindex &&
	    entrance->generation == m->generation)
		return &entrance->device;
	device = bpf_map_lookup_elem(&devices, &key);
	if (!device)
		return 0;
	entrance->ifindex = ifindex;
	entrance->generation = m->generation;
	entrance->device = *device;
	return device;
}

static __always_inline struct device *
find_device(struct __sk_buff *skb, struct machine *m, __u32 *nested)
{
	struct device_key key = {.ifindex = skb->ifindex};
	struct device *device;

	if (skb->vlan_present) {
		key.tag = skb->vlan_tci & 0xfff;
		device = key.tag ? bpf_map_lookup_elem(&devices, &key) : 0;
		if (device) {
			*nested = 1;
			return device;
		}
	}
	return find_untagged(m, skb->ifindex);
}

static __always_inline int drop_at_entry(struct machine *m, __u32 reason)
{
	count_drop(reason);
	if (m && reason != DROP_NESTED_RUN)
		m->busy = 0;
	return VERDICT_DROP;
}

static __always_inline struct device *find_host(struct __sk_buff *skb)
{
	struct device_key key = {
		.ifindex = skb->ifindex,
		.tag = MAX_HOST_TAG,
	};

	return bpf_map_lookup_elem(&devices, &key);
}

/* What takes no part in the chain still goes between the host and its wire. */
static __always_inline int refuse(struct __sk_buff *skb, struct machine *m,
				  __u32 reason, int is_from_host)
{
	int verdict = drop_at_entry(m, reason);

	if (!is_from_host && !find_host(skb))
		return verdict;
	count_drop(DROP_BYPASS);
	return VERDICT_PASS;
}

/* Begin with a packet that comes: ENTERED, or the verdict when that is all. */
static __always_inline int enter(struct __sk_buff *skb, struct machine *m,
				 int is_from_host)
{
	struct device *device;
	__u32 nested = 0;
	int result = begin(m, skb);

	if (result)
		return refuse(skb, m, result, is_from_host);
	device = is_from_host ? find_host(skb) : find_device(skb, m, &nested);
	if (!device)
		return refuse(skb, m, DROP_NO_DEVICE, is_from_host);
	result = enter_datapath(m, device->dp);
	if (result)
		return refuse(skb, m, -result, is_from_host);
	if (nested) {
		m->w[W_ETH_TYPE_TCI] &= 0xffff0000;
		m->w[W_FLAGS] |= FLAG_NESTED;
	}
	if (device->flags & PORT_F_LOCALPORT)
		m->w[W_FLAGS] |= FLAG_LOCALPORT;
	m->side = device->flags & SIDES;
	m->w[W_INPORT] = device->port;
	m->w[W_CT_ZONE] = device->zone;
	goto_stage(m, 0);
	if (device->module)
		call_port_module(skb, device->module, MODULE_FROM_MACHINE);
	return ENTERED;
}

/* Take up what another run has handed over; out of the way of all other packets. */
static __noinline int take_over(struct __sk_buff *skb)
{
	struct machine *m = machine();

	if (!m)
		return 0;
	m->busy = 1;
	if (m->run == RUN_MODULE)
		after_module(m, user_call(skb));
	return 0;
}

/*
 * Packets that come out of a logical port's device, and those that another run
 * hands over. Works until the packet is done, or a user's module is to run.
 */
SEC("tc")
int ingress(struct __sk_buff *skb)
{
	struct machine *m = machine();
	struct context ctx = {.skb = skb, .m = m};
	int verdict;

	if (!m)
		return VERDICT_DROP;
	if (__builtin_expect(m->busy == HANDED_OVER, 0)) {
		take_over(skb);
	} else {
		if (skb->tc_index == OURS && find_host(skb)) {
			skb->tc_index = 0;
			return VERDICT_PASS;
		}
		verdict = enter(skb, m, 0);
		if (verdict != ENTERED)
			return verdict;
	}
	take_segment(skb, m);
	if (!is_done(m) && m->run != RUN_MODULE)
		bpf_loop(MAX_STEPS + 1, step, &ctx, 0);
	if (m->run == RUN_MODULE)
		return hand_over(skb, m);
	return conclude(skb, m);
}

/*
 * Packets that the host's stack sends by a device that it shares with us. To be
 * loaded by whoever may have such devices.
 */
SEC("?tc")
int egress(struct __sk_buff *skb)
{
	struct machine *m = machine();
	int verdict;

	if (skb->tc_index == DONE || !m)
		return VERDICT_DROP;
	if (skb->tc_index == OURS) {
		skb->tc_index = 0;
		return VERDICT_PASS;
	}
	verdict = enter(skb, m, 1);
	if (verdict != ENTERED)
		return verdict;
	take_segment(skb, m);
	return is_done(m) ? conclude(skb, m) : hand_over(skb, m);
}

/* Packets that the agent puts into the pipeline by a test run. */
SEC("tc")
int inject(struct __sk_buff *skb)
{
	struct machine *m = machine();
	struct injection *injection;
	__u32 zero = 0;
	int result = begin(m, skb);

	if (result || !m)
		return drop_at_entry(m, result);
	m->inject = 1;
	injection = bpf_map_lookup_elem(&injections, &zero);
	if (!injection)
		return drop_at_entry(m, DROP_NO_STATE);
	__builtin_memcpy(m->w, injection->words, sizeof(injection->words));
	m->w[W_NAT] = m->w[W_CT_STATE] >> 16; /* see answer_hold() */
	m->w[W_CT_STATE] &= 0xffff;
	if (injection->mac_hi | injection->mac_lo) {
		m->w[W_ETH_HI] = (m->w[W_ETH_HI] & 0xffff) | injection->mac_hi
								     << 16;
		m->w[W_ETH_DST_LO] = injection->mac_lo;
	}
	result = enter_datapath(m, m->w[W_DATAPATH]);
	if (result)
		return drop_at_entry(m, -result);
	goto_stage(m, injection->stage);
	if (injection->kind == INJECT_OUTPUT)
		output(m);
	return hand_over(skb, m);
}

/* Copies that were sent around to a user's module. */
SEC("tc")
int again(struct __sk_buff *skb)
{
	struct machine *m = machine();
	int result = begin(m, skb);

	if (result || !m)
		return drop_at_entry(m, result);
	result = user_unpark(skb);
	if (!result)
		result = enter_datapath(m, m->w[W_DATAPATH]);
	if (result)
		return drop_at_entry(m, -result & 0x3f);
	m->run = RUN_MODULE;
	return hand_over(skb, m);
}

char _license[] SEC("license") = "Dual BSD/GPL";
