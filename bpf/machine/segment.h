/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The fast path: what a walk over the stages did to one packet is done again
 * to the next that looks the same, without the walk.
 *
 * A *segment* begins where a packet enters a pipeline or behind an instruction
 * that has to be executed for each packet (conntrack, copies, choices by a hash,
 * what reads the packet's length), and ends before the next of these, with the
 * strand, or at the device by which it leaves; where its counters are full another
 * one follows. In between the walk is a function of the words
 * that it looks at:
 *
 *  - consult() notes each bit of the packet, as it was at the start, that the
 *    walk asks for; what it wrote itself is known;
 *  - a start collects the bits that any walk from there has asked for. They are
 *    the key: two packets alike in them take the same walk;
 *  - the segment holds the bits that were written, and where to go on.
 *
 * The key grows as walks ask for more; each growth begins a new serial, under
 * which the start's earlier segments are not found any more. A change of the
 * pipeline raises the generation, which empties all starts.
 *
 * Walks also ask for what packets have taught: neighbours, MAC addresses. A
 * segment with such an answer holds until a packet teaches something else, and
 * for a second at most: the walk says that the address is still in use.
 */
#pragma once

#include "machine/segment_maps.h"

#define STAGE_BIT 0x80000000 /* start.where: a stage, not an instruction */
#define FIRST_PACKET_WORD W_ETH_HI
#define ALL_WORDS (MAX_WORDS + MAX_TEMPS)
/*
 * To record costs as much as to walk. Where so many more packets missed than
 * hit, only each 16th walk is recorded.
 */
#define PATIENCE 64
#define RECALL_NS SECOND_NS
#define RARELY 15

/* Set before load: 0 makes every packet walk. */
const volatile __u8 fast_path = 1;

/* The walk depends on these bits of the word. */
static __always_inline void consult(struct machine *m, __u32 word, __u32 mask)
{
	if (fast_path)
		m->used[word & 127] |= mask & ~m->wrote[word & 127];
}

/* The walk makes these bits of the word its own. */
static __always_inline void overwrite(struct machine *m, __u32 word, __u32 mask)
{
	if (fast_path)
		m->wrote[word & 127] |= mask;
}

/* Write a whole word. */
static __always_inline void put(struct machine *m, __u32 word, __u32 value)
{
	m->w[word & 127] = value;
	overwrite(m, word, 0xffffffff);
}

static __always_inline void consult_words(struct machine *m, __u32 first,
					  __u32 last)
{
	for (__u32 word = first; word <= last; word++)
		consult(m, word, 0xffffffff);
}

static __always_inline __u32 generation_of(__u32 what)
{
	__u32 *number = bpf_map_lookup_elem(&generation, &what);

	return number ? *number : 0;
}

/*
 * The walk has asked for something learned, or learned what was known
 * (result 0), or something new (1).
 */
static __always_inline void recall(struct machine *m, int result)
{
	__u32 what = GENERATION_LEARNED;
	__u32 *number;

	if (!fast_path)
		return;
	m->recalls = 1;
	if (result <= 0)
		return;
	m->recording = 0;
	number = bpf_map_lookup_elem(&generation, &what);
	if (number)
		__sync_fetch_and_add(number, 1);
}

/* The clock, read once in a jiffy. */
static __always_inline __u64 rough_now(struct machine *m)
{
	__u64 tick = bpf_jiffies64();

	if (tick != m->tick) {
		m->tick = tick;
		m->now = bpf_ktime_get_coarse_ns();
	}
	return m->now;
}

static __always_inline void count_replay(__u32 kind)
{
	__u64 *count = bpf_map_lookup_elem(&replays, &kind);

	if (count)
		(*count)++;
}

static __always_inline void raise_counter(const struct machine *m, __u32 index)
{
	struct counter *counter = bpf_map_lookup_elem(&counters, &index);

	if (!counter)
		return;
	counter->packets++;
	counter->bytes += m->frame_bytes;
}

static __always_inline __u64 mix(__u64 hash, __u64 value)
{
	hash = (hash ^ value) * 0x9e3779b97f4a7c15ULL;
	return hash ^ hash >> 32;
}

/* The masked words w of a start into m->segment_key; their hash. */
static __always_inline __u64 gather(struct machine *m,
				    const struct start *start, const __u32 *w)
{
	__u64 hash = mix(start->serial, start->n_words);

	for (__u32 i = 0; i < SEGMENT_PAIRS; i++) {
		__u64 low, high;

		if (2 * i >= start->n_words)
			break;
		low = w[start->word[2 * i] & 127] & start->mask[2 * i];
		high = w[start->word[2 * i + 1] & 127] & start->mask[2 * i + 1];
		m->segment_key[i] = low | high << 32;
		hash = mix(hash, m->segment_key[i]);
	}
	return hash;
}

static __always_inline int same_segment(const struct machine *m,
					const struct start *start,
					const struct segment *segment)
{
	if (segment->serial != start->serial)
		return 0;
	for (__u32 i = 0; i < SEGMENT_PAIRS; i++) {
		if (2 * i >= start->n_words)
			break;
		if (segment->key[i] != m->segment_key[i])
			return 0;
	}
	return 1;
}

static __always_inline struct start *start_at(__u64 hash)
{
	__u32 at = hash % MAX_STARTS;

	return bpf_map_lookup_elem(&starts, &at);
}

static __always_inline struct segment *segment_at(__u64 hash)
{
	__u32 at = hash % MAX_SEGMENTS;

	return bpf_map_lookup_elem(&segments, &at);
}

static __always_inline int is_start(const struct machine *m,
				    const struct start *start, __u32 now,
				    __u32 where)
{
	return start->where == where && start->generation == now &&
	       start->pipeline == m->w[W_PIPELINE] &&
	       start->class == m->w[W_CLASS];
}

/* What the segment's walk learned may be out of date; it is forgotten then. */
static __always_inline int is_stale(struct machine *m, struct segment *segment)
{
	if (!segment->until ||
	    (segment->learned == m->learned && rough_now(m) < segment->until))
		return 0;
	segment->serial = 0;
	return 1;
}

/*
 * The start at which the packet is: known, or made now in the place of one of
 * an earlier generation or, by turns, of one of two others.
 */
static __always_inline struct start *find_start(struct machine *m, __u32 now)
{
	__u32 where = m->run == RUN_STAGE ? m->stage | STAGE_BIT : m->pc;
	__u64 hash = mix(mix(where, m->w[W_PIPELINE]), m->w[W_CLASS]);
	struct start *start = start_at(hash), *other = start_at(hash ^ 1);

	m->start = hash;
	if (!start || !other || is_start(m, start, now, where))
		return start;
	if (is_start(m, other, now, where) || other->generation != now ||
	    (start->generation == now && (++m->turn & 1))) {
		m->start = hash ^ 1;
		start = other;
		if (is_start(m, start, now, where))
			return start;
	}
	start->serial = ++m->serial;
	start->generation = now;
	start->where = where;
	start->pipeline = m->w[W_PIPELINE];
	start->class = m->w[W_CLASS];
	start->n_words = 0;
	start->misses = 0;
	return start;
}

/* Do to the packet what the segment's walk did. */
static __always_inline void apply(struct machine *m, const struct segment *s)
{
	word_pair *state = (word_pair *)m->w;

	for (int i = 0; i < STATE_PAIRS; i++)
		state[i] = (state[i] & s->state_keep[i]) | s->state_value[i];
	for (__u32 i = 0; i < SEGMENT_WRITES; i++) {
		__u32 word = s->word[i] & 127;

		if (i >= s->n_writes)
			break;
		m->w[word] = (m->w[word] & s->keep[i]) | s->value[i];
	}
	for (__u32 i = 0; i < SEGMENT_COUNTS; i++) {
		if (i >= s->n_counts)
			break;
		raise_counter(m, s->count[i]);
	}
	m->steps += s->steps;
	m->pc = s->pc;
	m->run = RUN_CODE;
	if (s->pc) {
		m->begins = s->begins;
		return;
	}
	m->run = RUN_END;
	if (s->drop)
		count_drop(s->drop);
	if (s->exit.ifindex) {
		m->exit = s->exit;
		m->run = RUN_EMIT;
	}
}

static __always_inline void record(struct machine *m)
{
	m->recording = 1;
	m->first_depth = m->depth;
	m->first_steps = m->steps;
	m->n_counted = 0;
	m->recalls = 0;
	__builtin_memset(m->used, 0, sizeof(m->used));
	__builtin_memset(m->wrote, 0, sizeof(m->wrote));
	__builtin_memcpy(m->first, m->w, sizeof(m->first));
}

/*
 * Where a segment may begin: replay the one that fits, or begin to record one.
 * Either way nothing is left of what was known of the packet's sets, so that a
 * recorded walk asks for all that it needs.
 */
__noinline int replay(void)
{
	struct machine *m = machine();
	struct segment *segment;
	struct start *start;
	__u64 hash;

	if (!m)
		return 0;
	m->begins = 0;
	m->recording = 0;
	m->dim_valid = 0;
	m->learned = generation_of(GENERATION_LEARNED);
	start = find_start(m, m->generation);
	if (!start || start->n_words == NO_SEGMENTS) {
		count_replay(REPLAY_NONE);
		return 0;
	}
	hash = gather(m, start, m->w);
	segment = segment_at(hash);
	if (segment && !same_segment(m, start, segment))
		segment = segment_at(hash ^ 1);
	if (segment && same_segment(m, start, segment) &&
	    !is_stale(m, segment)) {
		if (start->misses)
			start->misses--;
		apply(m, segment);
		count_replay(REPLAY_HIT);
		return 0;
	}
	count_replay(REPLAY_MISS);
	if (start->misses < PATIENCE)
		start->misses++;
	else if (++m->turn & RARELY)
		return 0;
	record(m);
	return 0;
}

/* Add bits of a word to the key of a start: 1 if they were not there. */
__noinline int widen(__u32 word)
{
	struct machine *m = machine();
	struct start *start;
	__u32 bits;

	if (!m || word >= ALL_WORDS)
		return 0;
	bits = m->used[word];
	start = start_at(m->start);
	if (!start || !bits)
		return 0;
	for (__u32 i = 0; i < 2 * SEGMENT_PAIRS; i++) {
		if (i >= start->n_words) {
			start->n_words = i + 1;
			start->word[i] = word;
			start->mask[i] = bits;
			/* The other half of the last pair counts for nothing. */
			if (i + 1 < 2 * SEGMENT_PAIRS) {
				start->word[i + 1] = 0;
				start->mask[i + 1] = 0;
			}
			return 1;
		}
		if (start->word[i] == word) {
			if (!(bits & ~start->mask[i]))
				return 0;
			start->mask[i] |= bits;
			return 1;
		}
	}
	start->n_words = NO_SEGMENTS;
	return 1;
}

/* Note what the walk wrote to a word that is not state: 0 if there is no room. */
__noinline int note_write(__u32 word)
{
	struct machine *m = machine();
	struct segment *s;
	__u32 n;

	if (!m || word >= ALL_WORDS)
		return 0;
	s = segment_at(m->segment);
	if (!s)
		return 0;
	n = s->n_writes;
	if (n >= SEGMENT_WRITES)
		return 0;
	s->word[n] = word;
	s->keep[n] = ~m->wrote[word];
	s->value[n] = m->w[word] & m->wrote[word];
	s->n_writes = n + 1;
	return 1;
}

/* Temporaries are of use to instructions only: to none where a strand ends. */
static __always_inline int note_writes(const struct machine *m,
				       struct segment *s, __u32 end)
{
	const word_pair *state = (const word_pair *)m->w;
	const word_pair *wrote = (const word_pair *)m->wrote;

	for (int i = 0; i < STATE_PAIRS; i++) {
		s->state_keep[i] = ~wrote[i];
		s->state_value[i] = state[i] & wrote[i];
	}
	s->n_writes = 0;
	for (__u32 word = FIRST_PACKET_WORD; word < end; word++)
		if (m->wrote[word] && !note_write(word))
			return 0;
	return 1;
}

/*
 * The walk ends: at instruction pc, or (0) with the strand, for this reason or
 * at the device of exit.
 */
__noinline int end_segment(__u32 pc, __u32 drop)
{
	struct machine *m = machine();
	struct segment *segment, *other;
	struct start *start;
	__u32 wider = 0;
	__u64 hash;

	if (!m)
		return 0;
	m->recording = 0;
	if (m->depth != m->first_depth) /* in the middle of a call */
		return 0;
	for (__u32 word = 0; word < ALL_WORDS; word++)
		if (m->used[word])
			wider |= widen(word);
	start = start_at(m->start);
	if (!start)
		return 0;
	if (pc && pc == start->where) /* no way to go */
		start->n_words = NO_SEGMENTS;
	if (wider)
		start->serial = ++m->serial;
	if (start->n_words == NO_SEGMENTS)
		return 0;
	hash = gather(m, start, m->first);
	segment = segment_at(hash);
	other = segment_at(hash ^ 1);
	if (!segment || !other)
		return 0;
	m->segment = hash;
	if (segment->serial && (!other->serial || (++m->turn & 1))) {
		m->segment = hash ^ 1;
		segment = other;
	}
	segment->serial = 0;
	if (!note_writes(m, segment, pc ? ALL_WORDS : MAX_WORDS))
		return 0;
	for (__u32 i = 0; i < SEGMENT_PAIRS; i++)
		segment->key[i] = m->segment_key[i];
	segment->n_counts = m->n_counted;
	for (int i = 0; i < SEGMENT_COUNTS; i++)
		segment->count[i] = m->counted[i];
	segment->pc = pc;
	segment->drop = drop;
	segment->exit = m->exit;
	if (m->run != RUN_EMIT)
		segment->exit.ifindex = 0;
	segment->learned = m->learned;
	segment->until = m->recalls ? rough_now(m) + RECALL_NS : 0;
	segment->steps = m->steps - m->first_steps;
	segment->begins = m->n_counted == SEGMENT_COUNTS;
	segment->serial = start->serial;
	return 0;
}

/* An instruction that is executed for each packet is about to be. */
static __always_inline void cut(struct machine *m, __u32 pc)
{
	if (fast_path && m->recording)
		end_segment(pc, 0);
	m->begins = 1;
}

/* What comes next may begin a segment, unless this was the end of a call. */
static __always_inline void strand_ended(struct machine *m)
{
	if (fast_path && m->recording) {
		if (m->depth == m->first_depth)
			end_segment(0, m->drop);
		else if (m->drop) /* counted now, and not in a replay */
			m->recording = 0;
	}
	m->begins = !m->recording;
}

/*
 * Count the packet; a replay counts again what this walk counted. A segment with
 * no room for more counters is followed by another one.
 */
static __always_inline void count_packet(struct machine *m, __u32 pc,
					 __u32 index)
{
	__u32 n = m->n_counted;

	if (fast_path && m->recording && n < SEGMENT_COUNTS) {
		m->counted[n] = index;
		m->n_counted = n + 1;
		if (n + 1 == SEGMENT_COUNTS)
			cut(m, pc + 1);
	}
	raise_counter(m, index);
}
