/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * State of the packet that a CPU works on, shared by the machine and the
 * IOModules. A tc program runs with bottom halves off, so one instance per CPU
 * is enough; busy detects the exception (a test run that softirq interrupts).
 *
 * Functions that cross object files are global: the verifier checks each on
 * its own. They take the skb only and find the state with machine(). They
 * return 0 (or what they say) and a negative enum drop on failure.
 */
#pragma once

#include "abi/generated.h"
#include "lib/bpf.h"

#define PARSE_BYTES 192 /* bytes of a packet that parse() reads at once */
#define L4_BASE 256 /* where parse() puts an L4 header that lies farther */
#define L4_BYTES 128
#define ENTRANCES 16 /* devices that a CPU knows without the device map */
#define SEGMENT_COUNTS 16 /* counters that one segment may raise */

enum run {
	RUN_STAGE, /* look up m->stage */
	RUN_CODE, /* execute from m->pc */
	RUN_END, /* strand done: take the next from the work stack */
	RUN_EMIT, /* hand the packet to the device of exit, or the module before it */
	RUN_MODULE, /* leave the loop and run a user's module, see struct module_call */
};

enum module_purpose {
	MODULE_FOR_VERB, /* result in T_RESULT, on from pc */
	MODULE_FROM_MACHINE, /* a logical port's, before the ingress pipeline */
	MODULE_TO_MACHINE, /* and behind the egress pipeline */
};

enum work_kind {
	WORK_FORK, /* restore the words, execute from pc */
	WORK_RETURN, /* keep the words, execute from pc */
	WORK_MULTICAST, /* restore the words, output to member pos of list */
};

/* Two words at once. */
typedef __u64 word_pair __attribute__((may_alias));

struct work {
	__u32 kind; /* enum work_kind */
	__u32 pc;
	__u32 list;
	__u32 pos;
	__u32 w[MAX_WORDS];
};

/* A device to which packets go. */
struct exit {
	__u32 ifindex; /* 0: none */
	__u32 flags; /* enum port_flag */
	__u32 tci; /* VLAN tag that packets get, or 0 */
	__u32 module; /* as in struct port */
};

/* A device from which packets come, as the device map says. */
struct entrance {
	__u32 ifindex; /* 0: none */
	__u32 generation; /* of the pipeline for which it holds */
	struct device device;
};

/* A user's module that is to run. */
struct module_call {
	__u32 module; /* its number */
	__u32 port; /* the packet came in by this of its ports */
	__u32 ports; /* it has so many */
	__u32 reach; /* enum module_reach */
	__u32 purpose; /* enum module_purpose */
	__u32 calls; /* of modules for this packet so far, this one included */
};

/* A packet to build once all copies of the present one are out. */
struct generated {
	__u32 verb; /* OP_GEN_* */
	__u32 pc; /* body */
	__u32 len; /* bytes in data */
	__u32 frame_len; /* bytes of the original packet */
	__u32 w[MAX_WORDS];
	__u8 data[MAX_GENERATED_BYTES]; /* the packet to send, whole */
};

struct machine {
	__u32 w[MAX_WORDS + MAX_TEMPS]; /* the packet as the pipeline sees it */
	__u32 wire[MAX_WORDS]; /* words 24 and up as the skb holds them */
	__u32 busy;
	__u32 run; /* enum run */
	__u32 stage;
	__u32 pc;
	__u32 depth; /* pending items in work[] */
	__u32 gen_head; /* generated packets taken */
	__u32 gen_tail; /* and queued */
	__u32 in_ifindex;
	__s32 verdict; /* of the tc program once all is done */
	struct exit exit;
	__u32 stack_depth;
	__u32 steps; /* taken so far, see MAX_STEPS */
	__u32 drop; /* reason for which the last strand ended, or 0 */
	__u32 frame_bytes; /* length of the frame that came, one for all segments */
	__u32 inject; /* no device gave us the skb: only clones can be sent */
	struct module_call call;
	__u32 side; /* of a device shared with the host, it came from: PORT_F_* */
	/* where parse() found things, in bytes from the Ethernet header */
	__u32 l4; /* 0: no L4 header that could be read whole */
	__u32 l4_len; /* TCP: header length with options; others: minimal */
	__u32 nd_sll; /* address bytes of the option, or 0 */
	__u32 nd_tll;
	__u32 ip_end; /* end of the IP datagram */
	__u32 first_l4; /* of a first fragment, as W_L4, where flows see 0 */
	/*
	 * The packet that an ICMP error quotes, as it came; what becomes of it is
	 * said by W_NAT (quote.bpf.c).
	 */
	__u32 quote; /* where its IP header lies; 0: not read */
	__u32 quote_l4; /* and its upper header */
	__u32 quote_proto;
	__u32 quote_ports; /* as W_L4; of ICMP the identifier */
	__u32 quote_type; /* of ICMP: type and code, as W_L4 */
	__u32 quote_src[4]; /* addresses, IPv4 in [3] */
	__u32 quote_dst[4];
	/*
	 * Loop state of parse(): in memory the verifier takes it for unknown and
	 * verifies an iteration once, in registers once for each of its values.
	 */
	__u32 at;
	__u32 next;
	__u32 frag; /* stays: FRAG_* bits of the packet on the wire */
	/* search of a stage: where it stands, priority and program found */
	__u32 slot;
	__u32 slots_end;
	__s32 best;
	__s32 program;
	__u64 dim_valid; /* dim_list[] entries that hold */
	__u32 dim_list[MAX_DIMS]; /* set list of each dimension's value */
	__u32 key[40]; /* key of the lookup under way */
	/*
	 * The fast path (machine/segment.h): bits that the walk has consulted and
	 * written by word, and the words with which it began.
	 */
	__u32 used[MAX_WORDS + MAX_TEMPS] __attribute__((aligned(8)));
	__u32 wrote[MAX_WORDS + MAX_TEMPS];
	__u32 first[MAX_WORDS + MAX_TEMPS];
	__u64 segment_key[MAX_WORDS / 2];
	__u32 generation; /* of the pipeline when the packet came */
	__u32 learned; /* of what has been learned when the walk began */
	__u32 recalls; /* the walk has asked for something learned */
	__u64 tick; /* jiffies at which the clock was read last */
	__u64 now; /* what it said */
	__u64 serial; /* the last one given to a start */
	__u64 start; /* hash of the start at hand */
	__u64 segment; /* and of the segment */
	__u32 turn; /* which of two goes next */
	__u32 begins; /* a segment may begin here */
	__u32 recording;
	__u32 first_depth; /* depth and steps with which it began */
	__u32 first_steps;
	__u32 n_counted; /* counters that the walk raised */
	__u32 counted[SEGMENT_COUNTS];
	struct entrance entrances[ENTRANCES]; /* by ifindex, as far as they fit */
	__u32 stack[MAX_STACK * 4];
	__u8 hdr[512]; /* header bytes: parse() input, scratch of generators */
	struct work work[MAX_WORK_DEPTH];
};

/*
 * Key: 0. Value: all state of the packet at hand. Written and read within one
 * run on one CPU. Nothing can be full.
 */
struct machine_map {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct machine);
};
extern struct machine_map machines SEC(".maps");

/* W_L4 as it would be if the packet were no fragment. */
static __always_inline __u32 l4_word(const struct machine *m)
{
	return m->w[W_IP_META] & FRAG_ANY ? m->first_l4 : m->w[W_L4];
}

/*
 * Key: number. Value: a packet that a verb asks for, until the original is out.
 * Written and read within one run on one CPU. When full, the packet asked for is
 * dropped (DROP_GENERATED_FULL).
 */
struct generated_map {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MAX_GENERATED);
	__type(key, __u32);
	__type(value, struct generated);
};
extern struct generated_map generated SEC(".maps");

/*
 * Key: index of the datapath. Value: what it is. Written by the agent, read by
 * packets. When full, a further datapath is not local here, and the agent says
 * so; the others are.
 */
struct dps_map {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, MAX_DATAPATHS);
	__type(key, __u32);
	__type(value, struct dp);
};
extern struct dps_map dps SEC(".maps");

/*
 * Lists of numbers (members of a multicast group, ids of sets): at an index
 * stands the length, then the numbers. Index 0 is the empty list. Written by
 * the agent, read by packets; a list is never changed in place while in use.
 * The size is that of a list for each member of sets. When full, what is in force
 * stays; the agent says so and tries again each second.
 */
struct lists_map {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1 << 20);
	__type(key, __u32);
	__type(value, __u32);
};
extern struct lists_map lists SEC(".maps");

/*
 * Key: datapath and port. Value: where logical ports and groups lead to. Written
 * by the agent, read by packets. The size is that of 32 ports for each possible
 * datapath. When full, ports that are new are reached by nobody; the agent says so
 * and tries again each second.
 */
struct ports_map {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct port_key);
	__type(value, struct port);
};
extern struct ports_map ports SEC(".maps");

/*
 * Records for the agent, written by packets. The size is that of a burst of some
 * hundred held packets. When full, the event is lost and counted.
 */
struct events_map {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
};
extern struct events_map events SEC(".maps");

/*
 * Key: enum drop. Value: packets. Written by packets, read by the agent. One
 * for each reason.
 */
struct drops_map {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, DROP_COUNT);
	__type(key, __u32);
	__type(value, __u64);
};
extern struct drops_map drops SEC(".maps");

static __always_inline struct machine *machine(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&machines, &zero);
}

static __always_inline void count_drop(__u32 reason)
{
	__u64 *count = bpf_map_lookup_elem(&drops, &reason);

	if (count)
		(*count)++;
}

/* Number at position i of a list (0 is the length), 0 behind the map's end. */
static __always_inline __u32 list_at(__u32 list, __u32 i)
{
	__u32 index = list + i;
	__u32 *value = bpf_map_lookup_elem(&lists, &index);

	return value ? *value : 0;
}

/* Read the packet into words 24 and up, both w and wire. */
int parse(struct __sk_buff *skb);

/* Write words that differ from the wire into the packet, checksums included. */
int deparse(struct __sk_buff *skb);

/* The same for the packet that an ICMP error quotes, as W_NAT says. */
int write_quote(struct __sk_buff *skb);
