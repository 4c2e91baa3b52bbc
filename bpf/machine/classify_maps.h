/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The pipeline as data: stages, tuples and entries. All written by the agent. */
#pragma once

#include "lib/machine.h"

/*
 * Key: pipeline of the packet (see pipeline_of) + stage. Value: the first stage
 * from this one on that does more than pass packets on, as first slot (bits
 * 0-31), number of slots (32-47) and number of the stage (48-63). A datapath
 * changes whole: the agent fills the bank that is not in force, then flips
 * dp.bank; a packet stays with the bank that it entered with.
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
 * is never changed while a stage names it.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1 << 18);
	__type(key, __u32);
	__type(value, struct slot);
} slots SEC(".maps");

/* Masks of the tuples; there are few, northd writes from templates. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct shape);
} shapes SEC(".maps");

/* Guards that did not fit into their slot. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1 << 16);
	__type(key, __u32);
	__type(value, struct guard);
} guards SEC(".maps");

/*
 * Entries by key length in words. Key: the slot's uid, the masked words, the
 * set ids, zeros up to the length. When full, the agent keeps the datapath's
 * last pipeline and says so.
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

/* What sets can be looked up by. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, MAX_DIMS);
	__type(key, __u32);
	__type(value, struct dim);
} dims SEC(".maps");

/* Single values that are members of sets; value: list of the sets' ids. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 20);
	__type(key, struct member_key);
	__type(value, __u32);
} members SEC(".maps");

/*
 * Prefixes that are members of sets; value: list of the ids of all sets that
 * hold this prefix or a shorter one that covers it.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 18);
	__type(key, struct prefix_key);
	__type(value, __u32);
} prefixes SEC(".maps");
