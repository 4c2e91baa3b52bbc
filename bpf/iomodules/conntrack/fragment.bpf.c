// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * Fragments are not put together: the first one, which has the upper header,
 * is remembered for the later ones. One that comes before the first is dropped
 * (its datagram is lost then; senders emit them in order, and a network that
 * reorders them is slow for fragments anyway), and so is one that overlaps the
 * first, which could hide another header (RFC 1858, RFC 5722).
 */
#include "iomodules/conntrack/endpoints.h"
#include "iomodules/conntrack/extension.h"
#include "iomodules/conntrack/fragment.h"

#define FRAG_LIFE_NS (30 * SECOND_NS)
#define HAS_L4 (CLASS_TCP | CLASS_UDP | CLASS_SCTP | CLASS_ICMP4 | CLASS_ICMP6)

/* Where in its datagram a fragment lies, and the datagram's identification. */
struct place {
	__u32 id;
	__u32 offset; /* bytes */
	__u32 data; /* where its part begins in the packet */
	__u32 bits; /* FRAG_ANY, FRAG_LATER */
};

static __always_inline int place_ip4(struct __sk_buff *skb,
				     struct ct_scratch *s, struct place *place)
{
	__u32 field;

	if (bpf_skb_load_bytes(skb, ETH_BYTES, s->header, 8))
		return -1;
	field = READ_BE16(s->header + 6);
	place->id = READ_BE16(s->header + 4);
	place->offset = (field & 0x1fff) * 8;
	place->data = ETH_BYTES + (s->header[0] & 0xf) * 4;
	place->bits = field & 0x3fff ? FRAG_ANY : 0;
	return 0;
}

static __always_inline int place_ip6(struct __sk_buff *skb, struct machine *m,
				     struct ct_scratch *s, struct place *place)
{
	if (bpf_skb_load_bytes(skb, ETH_BYTES + 6, s->header, 1))
		return -1;
	s->next = s->header[0];
	s->at = ETH_BYTES + IP6_BYTES;
	for (int i = 0; i < MAX_EXTENSIONS; i++) {
		__u32 next = s->next;

		if (!is_extension(next) || step_extension(skb, s, m->ip_end))
			return -1;
		if (next == NEXTHDR_FRAGMENT) {
			__u32 field = READ_BE16(s->header + 2);

			place->id = READ_BE32(s->header + 4);
			place->offset = field & 0xfff8;
			place->data = s->at;
			place->bits = field & 0xfff9 ? FRAG_ANY : 0;
			return 0;
		}
	}
	return -1;
}

static __always_inline int find_place(struct __sk_buff *skb, struct machine *m,
				      struct ct_scratch *s, struct place *place)
{
	int result = m->w[W_CLASS] & CLASS_IP4 ? place_ip4(skb, s, place) :
						 place_ip6(skb, m, s, place);

	if (!result && place->offset)
		place->bits |= FRAG_LATER;
	return result;
}

static __always_inline void fill_key(const struct machine *m,
				     struct frag_key *key, __u32 zone, __u32 id)
{
	__builtin_memset(key, 0, sizeof(*key));
	key->zone = zone;
	key->id = id;
	if (m->w[W_CLASS] & CLASS_IP4) {
		key->proto = 4 << 8 | m->w[W_IP_META] >> 24;
		key->src[3] = m->w[W_IP4_SRC];
		key->dst[3] = m->w[W_IP4_DST];
		return;
	}
	/* A later fragment may begin with another extension header. */
	key->proto = 6 << 8;
	for (int i = 0; i < 4; i++) {
		key->src[i] = m->w[W_IP6_SRC0 + i];
		key->dst[i] = m->w[W_IP6_DST0 + i];
	}
}

/*
 * Bits of a word and of what the wire is said to hold, so that deparse()
 * writes nothing for them; the others may still wait to be written.
 */
static __always_inline void complete(struct machine *m, __u32 word, __u32 mask,
				     __u32 value)
{
	m->w[word] = (m->w[word] & ~mask) | value;
	m->wire[word] = (m->wire[word] & ~mask) | value;
}

static __always_inline int remember(struct __sk_buff *skb, struct machine *m,
				    struct ct_scratch *s, __u32 data)
{
	__u32 l4 = l4_word(m);

	if (m->w[W_CLASS] & HAS_L4 && !m->l4)
		return 0; /* cut header: later fragments find nothing */
	if (m->w[W_IP_META] & FRAG_ANY)
		complete(m, W_L4, ~0U, l4);
	if (m->w[W_CLASS] & (CLASS_ICMP4 | CLASS_ICMP6)) {
		if (bpf_skb_load_bytes(skb, m->l4 + 4, s->header, 2))
			return -DROP_FRAGMENT;
		l4 |= (__u32)s->header[0] << 24 | (__u32)s->header[1] << 8;
	}
	s->frag.l4 = l4;
	s->frag.tcp_flags = m->w[W_TCP_FLAGS];
	s->frag.proto = m->w[W_IP_META] >> 24;
	s->frag.class_bits = m->w[W_CLASS] & HAS_L4;
	s->frag.end = m->ip_end - data;
	s->frag.expires_ns = bpf_ktime_get_coarse_ns() + FRAG_LIFE_NS;
	/* LRU: fails only while another CPU takes the last free entry. */
	if (bpf_map_update_elem(&ct_frags, &s->frag_key, &s->frag, BPF_ANY))
		return -DROP_FRAGMENT;
	return 0;
}

static __always_inline int recall(struct machine *m, struct ct_scratch *s,
				  __u32 offset)
{
	struct frag *frag = bpf_map_lookup_elem(&ct_frags, &s->frag_key);

	if (!frag || frag->expires_ns <= bpf_ktime_get_coarse_ns() ||
	    offset < frag->end)
		return -DROP_FRAGMENT;
	complete(m, W_L4, ~0U, frag->l4);
	complete(m, W_TCP_FLAGS, ~0U, frag->tcp_flags);
	complete(m, W_CLASS, frag->class_bits, frag->class_bits);
	complete(m, W_IP_META, 0xff000000, frag->proto << 24);
	return 0;
}

__noinline int ct_fragment(struct __sk_buff *skb, __u32 zone)
{
	struct machine *m = machine();
	struct ct_scratch *s = scratch();
	struct place place = {};
	int result = 0;

	if (!m || !s)
		return -DROP_NO_STATE;
	if (!m->ip_end || find_place(skb, m, s, &place))
		return -DROP_FRAGMENT;
	fill_key(m, &s->frag_key, zone, place.id);
	/* Without an upper header that counts there is nothing to recall. */
	if (m->w[W_CLASS] & CLASS_IP6 || m->w[W_CLASS] & HAS_L4)
		result = place.bits & FRAG_LATER ?
				 recall(m, s, place.offset) :
				 remember(skb, m, s, place.data);
	if (result)
		return result;
	complete(m, W_IP_META, FRAG_ANY | FRAG_LATER, 0);
	return 0;
}

__noinline int ct_is_fragment(struct __sk_buff *skb)
{
	struct machine *m = machine();
	struct ct_scratch *s = scratch();
	struct place place = {};

	if (!m || !s)
		return 0;
	return !find_place(skb, m, s, &place) && place.bits;
}
