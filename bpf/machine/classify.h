/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Tuple-space search over the logical flows of one stage.
 *
 * A stage is a row of slots, one per tuple (set of masked words), in order of
 * falling priority. A slot is passed over without a hash when the packet's
 * class or one of its guards says no, and the search ends when no slot left
 * can beat the priority found.
 */
#pragma once

#include "machine/classify_maps.h"
#include "machine/segment.h"

#define SLOTS_A_STEP 8
#define MAX_WALK (1 << 20) /* slots; no pipeline has as many */
#define BLOOM_FACTOR 0x9e3779b1 /* 2^32 / golden ratio: spreads values */
#define BLOOM_SHIFT 26 /* leaves 6 bits: which of 64 */
#define DIM_INPORT 0 /* the first dimensions are port groups */
#define DIM_OUTPORT 1
#define DIM_GROUPS 2
#define DIM_PORTS 3ULL /* their bits in dim_valid */

/* List of the sets that the packet's value of a dimension is in. */
static __always_inline __u32 lookup_sets(struct machine *m, __u32 index)
{
	struct prefix_key prefix = {};
	struct member_key key = {};
	struct port_key port_key;
	struct dim *dim;
	struct port *port;
	__u32 *list;

	if (index < DIM_GROUPS) {
		__u32 word = index == DIM_INPORT ? W_INPORT : W_OUTPORT;

		consult(m, W_DATAPATH, 0xffffffff);
		consult(m, word, 0xffffffff);
		port_key.dp = m->w[W_DATAPATH];
		port_key.port = m->w[word];
		port = bpf_map_lookup_elem(&ports, &port_key);
		return port ? port->groups : 0;
	}
	dim = bpf_map_lookup_elem(&dims, &index);
	if (!dim)
		return 0;
	key.space = dim->space;
	for (int i = 0; i < 4; i++) {
		if (i >= dim->n_words)
			break;
		consult(m, dim->word[i], dim->mask[i] << (dim->shift[i] & 31));
		key.value[(4 - dim->n_words + i) & 3] =
			m->w[dim->word[i] & 127] >> (dim->shift[i] & 31) &
			dim->mask[i];
	}
	list = bpf_map_lookup_elem(&members, &key);
	if (list)
		return *list;
	if (!dim->prefixes)
		return 0;
	prefix.prefixlen = 160;
	prefix.space = bpf_htonl(key.space);
	for (int i = 0; i < 4; i++)
		prefix.value[i] = bpf_htonl(key.value[i]);
	list = bpf_map_lookup_elem(&prefixes, &prefix);
	return list ? *list : 0;
}

static __always_inline __u32 sets_of(struct machine *m, __u32 index)
{
	__u64 bit = 1ULL << (index & (MAX_DIMS - 1));
	__u32 list;

	index &= MAX_DIMS - 1;
	if (m->dim_valid & bit)
		return m->dim_list[index];
	list = lookup_sets(m, index);
	if (index >= MAX_CACHED_DIMS)
		return list;
	m->dim_list[index] = list;
	m->dim_valid |= bit;
	return list;
}

/* Known from an earlier look-up that the packet's value is in no set at all. */
static __always_inline int in_no_set(const struct machine *m, __u32 dim)
{
	dim &= MAX_DIMS - 1;
	return (m->dim_valid >> dim & 1) && !m->dim_list[dim];
}

struct member_scan {
	__u32 list;
	__u32 set;
	__u32 found;
};

static long scan_member(__u32 i, void *arg)
{
	struct member_scan *scan = arg;

	scan->found = list_at(scan->list, i + 1) == scan->set;
	return scan->found;
}

__noinline int in_set(__u32 dim, __u32 set)
{
	struct machine *m = machine();
	struct member_scan scan = {};

	if (!m)
		return 0;
	scan.list = sets_of(m, dim);
	scan.set = set;
	bpf_loop(list_at(scan.list, 0), scan_member, &scan, 0);
	return scan.found;
}

static __always_inline int guard_holds(struct machine *m, __u8 kind, __u8 word,
				       __u32 mask, __u32 value)
{
	if (kind <= GUARD_NOT_EQUAL)
		consult(m, word, mask);
	switch (kind) {
	case GUARD_EQUAL:
		return (m->w[word & 127] & mask) == value;
	case GUARD_NOT_EQUAL:
		return (m->w[word & 127] & mask) != value;
	case GUARD_IN_SET:
		return !in_no_set(m, word) && in_set(word, value);
	case GUARD_NOT_IN_SET:
		return in_no_set(m, word) || !in_set(word, value);
	default:
		return 0;
	}
}

/* The guards that a slot keeps in the guard map; groups are alternatives. */
__noinline int more_guards(__u32 first, __u32 n)
{
	struct machine *m = machine();
	__u32 group = 0, differs = 0;

	if (!m)
		return 0;
	for (__u32 i = 0; i < MAX_MORE_GUARDS; i++) {
		__u32 at = first + i;
		struct guard *guard;

		if (i >= n)
			break;
		guard = bpf_map_lookup_elem(&guards, &at);
		if (!guard)
			return 0;
		if (guard->kind != GUARD_NOT_ALL_EQUAL) {
			if (!guard_holds(m, guard->kind, guard->word,
					 guard->mask, guard->value))
				return 0;
			continue;
		}
		if (!group) {
			group = guard->n;
			differs = 0;
		}
		consult(m, guard->word, guard->mask);
		differs |= (m->w[guard->word & 127] & guard->mask) !=
			   guard->value;
		if (!--group && !differs)
			return 0;
	}
	return 1;
}

static __always_inline int hit(struct machine *m, const struct entry *entry)
{
	if (entry && (__s32)entry->priority > m->best) {
		m->best = entry->priority;
		m->program = entry->program;
	}
	return 0;
}

static __always_inline struct entry *find(struct machine *m, __u32 key_class)
{
	switch (key_class) {
	case 0:
		return bpf_map_lookup_elem(&entries4, m->key);
	case 1:
		return bpf_map_lookup_elem(&entries8, m->key);
	case 2:
		return bpf_map_lookup_elem(&entries16, m->key);
	default:
		return bpf_map_lookup_elem(&entries40, m->key);
	}
}

static __always_inline void build_key(struct machine *m,
				      const struct shape *shape, __u32 uid)
{
	switch (shape->key_class) {
	case 0:
		__builtin_memset(m->key, 0, 16);
		break;
	case 1:
		__builtin_memset(m->key, 0, 32);
		break;
	case 2:
		__builtin_memset(m->key, 0, 64);
		break;
	default:
		__builtin_memset(m->key, 0, sizeof(m->key));
		break;
	}
	m->key[0] = uid;
	for (int i = 0; i < MAX_SHAPE_WORDS; i++) {
		if (i >= shape->n_words)
			break;
		consult(m, shape->words[i], shape->masks[i]);
		m->key[i + 1] = m->w[shape->words[i] & 127] & shape->masks[i];
	}
}

struct product {
	struct machine *m;
	__u32 key_class;
	__u32 at; /* key word of the first set id */
	__u32 n_dims;
	__u32 list[MAX_SLOT_DIMS];
	__u32 length[MAX_SLOT_DIMS];
};

/* Try combination i of one set per dimension (mixed radix number). */
static long try_sets(__u32 i, void *arg)
{
	struct product *product = arg;
	struct machine *m = product->m;

	for (__u32 dim = 0; dim < MAX_SLOT_DIMS; dim++) {
		__u32 length = product->length[dim], at = product->at + dim;

		if (dim >= product->n_dims || !length || at >= 40)
			break;
		m->key[at] = list_at(product->list[dim], i % length + 1);
		i /= length;
	}
	return hit(m, find(m, product->key_class));
}

static __always_inline int lookup_product(struct machine *m,
					  const struct slot *slot,
					  const struct shape *shape)
{
	struct product product = {
		.m = m,
		.key_class = shape->key_class,
		.at = shape->n_words + 1,
		.n_dims = slot->n_dims,
	};
	__u32 total = 1;

	for (int i = 0; i < MAX_SLOT_DIMS; i++) {
		if (i >= slot->n_dims)
			break;
		product.list[i] = sets_of(m, slot->dims[i]);
		product.length[i] = list_at(product.list[i], 0);
		if (!product.length[i])
			return 0;
		/* Divided, because the product of two lengths may wrap. */
		if (product.length[i] > MAX_SET_PRODUCT / total) {
			m->program = -DROP_SET_LIMIT;
			return 1;
		}
		total *= product.length[i];
	}
	bpf_loop(total, try_sets, &product, 0);
	return 0;
}

/* Look up the entries of slot m->slot; 1 ends the walk. */
__noinline int lookup_slot(void)
{
	struct machine *m = machine();
	struct shape *shape;
	struct slot *slot;
	__u32 at;

	if (!m)
		return 1;
	at = m->slot;
	slot = bpf_map_lookup_elem(&slots, &at);
	if (!slot)
		return 1;
	at = slot->shape;
	shape = bpf_map_lookup_elem(&shapes, &at);
	if (!shape)
		return 1;
	build_key(m, shape, slot->uid);
	if (slot->n_dims)
		return lookup_product(m, slot, shape);
	return hit(m, find(m, shape->key_class));
}

/* No entry has the packet's value in the first word of the key. */
static __always_inline int is_absent(struct machine *m, const struct slot *slot)
{
	__u32 at = slot->shape;
	struct shape *shape = bpf_map_lookup_elem(&shapes, &at);
	__u32 value;

	if (!shape)
		return 1;
	consult(m, shape->words[0], shape->masks[0]);
	value = m->w[shape->words[0] & 127] & shape->masks[0];
	return !(slot->bloom >> (value * BLOOM_FACTOR >> BLOOM_SHIFT) & 1);
}

static __always_inline int passes_guards(struct machine *m,
					 const struct slot *slot)
{
	for (int g = 0; g < MAX_SLOT_GUARDS; g++) {
		if (g >= slot->n_guards)
			break;
		if (!guard_holds(m, slot->guard_kind[g], slot->guard_word[g],
				 slot->guard_mask[g], slot->guard_value[g]))
			return 0;
	}
	return !slot->n_more || more_guards(slot->more, slot->n_more);
}

/* Look at slot m->slot; 1 ends the walk. */
static __always_inline int try_slot(struct machine *m)
{
	__u32 at = m->slot;
	struct slot *slot = bpf_map_lookup_elem(&slots, &at);

	if (!slot || m->best >= slot->max_priority)
		return 1;
	if ((m->w[W_CLASS] & slot->classes) != slot->classes ||
	    !passes_guards(m, slot))
		return 0;
	if (!slot->shape) {
		m->best = slot->max_priority;
		m->program = slot->uid;
		return 1;
	}
	return !is_absent(m, slot) && lookup_slot();
}

/*
 * Begin with the row of m->stage, which is moved on over stages that hold
 * nothing but `1 -> next`; 1 if there is none.
 */
static __always_inline int begin_row(struct machine *m)
{
	__u32 index = m->w[W_PIPELINE] + (m->stage & (MAX_STAGES - 1));
	__u64 *row = bpf_map_lookup_elem(&stages, &index);

	m->best = -1;
	m->program = -DROP_NO_FLOW;
	if (!row)
		return 1;
	m->stage = *row >> ROW_STAGE_SHIFT;
	m->slot = *row;
	m->slots_end = m->slot + (*row >> ROW_LENGTH_SHIFT & ROW_LENGTH_MASK);
	return 0;
}

/*
 * A few slots a step: the call and return of a callback cost as much as
 * looking at a slot that does not match. What changes from slot to slot lies in
 * memory, so that the verifier checks the loop's body little more than once.
 * A row that says `next;` leads to the next one in the same walk.
 */
static long try_slots(__u32 i, void *arg)
{
	struct machine *m = *(struct machine **)arg;

	(void)i;
	for (int k = 0; k < SLOTS_A_STEP; k++) {
		if (m->slot < m->slots_end && !try_slot(m)) {
			m->slot++;
			continue;
		}
		if (m->program != PROGRAM_NEXT)
			return 1;
		m->stage++;
		if (begin_row(m))
			return 1;
	}
	return 0;
}

/*
 * Program (PROGRAM_DROP or an instruction index) of the flow of the highest
 * priority that matches the packet in the first stage from m->stage on where
 * that is not `next;`. m->stage is then that stage. Negative enum drop if no
 * flow matches.
 */
static __always_inline int classify(struct machine *m)
{
	if (!begin_row(m))
		bpf_loop(MAX_WALK / SLOTS_A_STEP, try_slots, &m, 0);
	return m->program;
}
