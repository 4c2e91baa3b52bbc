/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The pipeline as data: stages, tuples and entries. All written by the agent. */
#pragma once

#include "lib/machine.h"

/*
 * Key: pipeline of the packet (see pipeline_of) + stage. Value: the first stage
 * from this one on that does more than pass packets on, as first slot (bits
 * 0-31), number of slots (32-47) and number of the stage (48-63). A datapath
 * changes whole: the agent fills the bank that is not in force, then flips
 * dp.bank; a packet stays with the bank that it entered with. Has an element
 * for each possible key and cannot be full.
 */
#define ROW_LENGTH_SHIFT 32
#define ROW_LENGTH_MASK 0xffff
#define ROW_STAGE_SHIFT 48

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, MAX_DATAPATHS *MAX_PIPELINES *MAX_STAGES);
	__type(key, __u32);
	__type(value, __u64);
} stages SEC(".maps");

/*
 * Tuples of the stages, each stage's in a row, highest priority first. A row
 * is never changed while a stage names it. Written by the agent, read by
 * classify(). The size leaves 100 to each stage of 100 datapaths. When full, the
 * agent keeps the last pipeline and says so.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1 << 18);
	__type(key, __u32);
	__type(value, struct slot);
} slots SEC(".maps");

/*
 * Masks of the tuples, by the number in a slot. Written by the agent, read by
 * classify(). There are few, northd writes from templates. When full, the agent
 * keeps the last pipeline and says so.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct shape);
} shapes SEC(".maps");

/*
 * Guards that did not fit into their slot, each slot's in a row. Written by the
 * agent, read by classify(). Few slots have any. When full, the agent keeps the
 * last pipeline and says so.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1 << 16);
	__type(key, __u32);
	__type(value, struct guard);
} guards SEC(".maps");

/*
 * Entries by key length in words. Key: the slot's uid, the masked words, the
 * set ids, zeros up to the length. Value: priority and program. Written by the
 * agent, read by classify(). The sizes are those of 1,000,000 rules of each kind
 * but the longest, which no flow of northd's needs so often. When full, the agent
 * keeps the last pipeline and says so.
 */
#define ENTRY_MAP(name, words, entries)                                        \
	struct name##_key {                                                    \
		__u32 word[words];                                             \
	};                                                                     \
	struct {                                                               \
		__uint(type, BPF_MAP_TYPE_HASH);                               \
		__uint(map_flags, BPF_F_NO_PREALLOC);                          \
		__uint(max_entries, entries);                                  \
		__type(key, struct name##_key);                                \
		__type(value, struct entry);                                   \
	} name SEC(".maps")

ENTRY_MAP(entries4, 4, 1 << 20);
ENTRY_MAP(entries8, 8, 1 << 20);
ENTRY_MAP(entries16, 16, 1 << 20);
ENTRY_MAP(entries40, 40, 1 << 18);

/*
 * What sets can be looked up by: which words make the value. Written by the
 * agent, read by classify(). Has room for each field that OVN compares with
 * sets; a flow that asks for more is refused by name.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, MAX_DIMS);
	__type(key, __u32);
	__type(value, struct dim);
} dims SEC(".maps");

/*
 * Key: a value that is a member of sets. Value: list of the sets' ids. Written
 * by the agent, read by classify(). The size is that of 100 sets of 10,000
 * addresses. When full, values that are new are in none of their sets; the agent
 * says so and tries again each second.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 20);
	__type(key, struct member_key);
	__type(value, __u32);
} members SEC(".maps");

/*
 * Key: a prefix that is a member of sets. Value: list of the ids of all sets
 * that hold this prefix or a shorter one that covers it. Written by the agent,
 * read by classify(). Prefixes are a fourth of the members at most. When full, as
 * members.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 18);
	__type(key, struct prefix_key);
	__type(value, __u32);
} prefixes SEC(".maps");
