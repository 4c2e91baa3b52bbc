/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What the fast path remembers; see segment.h. Per CPU, so nothing is shared. */
#pragma once

#include "lib/machine.h"

#define MAX_STARTS 4096
#define MAX_SEGMENTS 8192
#define SEGMENT_PAIRS 12 /* words of a key, in pairs */
#define SEGMENT_WRITES 16 /* packet words and temporaries that one may change */
#define STATE_PAIRS 12 /* words before FIRST_PACKET_WORD, in pairs */
#define NO_SEGMENTS 0xffff /* start.n_words: none are kept, see end_segment() */

/*
 * A place where segments begin, for one kind of packet, and the bits of the
 * packet that walks from there have asked for so far.
 */
struct start {
	__u64 serial; /* of this set of bits; never the same again on this CPU */
	__u32 generation; /* of the pipeline that they hold for */
	__u32 where; /* instruction, or stage with STAGE_BIT */
	__u32 pipeline;
	__u32 class;
	__u32 n_words;
	__u32 misses; /* more than hits, up to PATIENCE */
	__u32 mask[2 * SEGMENT_PAIRS];
	__u8 word[2 * SEGMENT_PAIRS];
};

/* What one walk did to packets that look like this. */
struct segment {
	__u64 serial; /* of the start that it belongs to; 0: empty */
	__u64 key[SEGMENT_PAIRS]; /* masked words of the start, in pairs */
	__u64 state_keep[STATE_PAIRS]; /* state words, in pairs: bits that stay */
	__u64 state_value[STATE_PAIRS]; /* and what the others become */
	__u32 keep[SEGMENT_WRITES]; /* the same for other words */
	__u32 value[SEGMENT_WRITES];
	__u8 word[SEGMENT_WRITES];
	__u32 n_writes;
	__u32 n_counts;
	__u32 count[SEGMENT_COUNTS]; /* counters to raise */
	__u32 pc; /* instruction to go on with; 0: the strand ends */
	__u32 drop; /* and why */
	struct exit exit; /* or where it leaves */
	__u32 learned; /* where until is set: what had been learned by then */
	__u64 until; /* clock, ns; 0: nothing learned is in it */
	__u32 steps; /* that the walk took */
	__u32 begins; /* where it goes on another one begins */
};

/*
 * Key: hash of place, pipeline and class, two ways. Written and read by packets.
 * A busy hypervisor has some hundred; one that finds no place takes that of
 * another, which then is learnt anew. 0.7 MB a CPU.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MAX_STARTS);
	__type(key, __u32);
	__type(value, struct start);
} starts SEC(".maps");

/*
 * Key: hash of the start's serial and the masked words, two ways. Written and
 * read by packets; one that finds no place takes that of another. 4 MB a CPU.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MAX_SEGMENTS);
	__type(key, __u32);
	__type(value, struct segment);
} segments SEC(".maps");

#define GENERATION_SET 0 /* elements of generation */
#define GENERATION_LEARNED 1

/*
 * Element 0: raised by the agent whenever something that walks read has
 * changed, after the change; all segments recorded before miss from then on.
 * Element 1: raised by packets whenever they have learned something (neighbours,
 * FDB), after they did; those segments miss that asked for what is learned. Read
 * by packets. Nothing can be full.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u32);
} generation SEC(".maps");

/*
 * Key: number that the agent has given to a counter. Value: what was counted.
 * Written by packets, read by the agent. 16 B a CPU each; when all are given
 * away the agent refuses what asks for more.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1 << 14);
	__type(key, __u32);
	__type(value, struct counter);
} counters SEC(".maps");

/*
 * Key: enum replay. Value: segments. Written by packets, read by the agent. One
 * for each kind.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, REPLAY_COUNT);
	__type(key, __u32);
	__type(value, __u64);
} replays SEC(".maps");
