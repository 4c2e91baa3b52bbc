// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * Answers are put together when their verb is met, from the packet as it is
 * then, and wait in generated[] until the skb is free to become one of them.
 */
#include "iomodules/dhcp/dhcp.h"
#include "iomodules/icmp/icmp.h"
#include "iomodules/icmp/answers.h"

#define MIN_ANSWER 42 /* ARP */
#define ICMP4_UNREACHABLE 3
#define ICMP6_UNREACHABLE 1
#define TCP_RST 0x04

/* Octets in front of csum_start of any skb that a stack sends, and more. */
#define PULL_BYTES 512

static __always_inline int is_icmp(__u32 verb)
{
	return verb >= OP_GEN_ICMP4 && verb <= OP_GEN_ICMP6_ERROR;
}

/* reject{} never answers a reset, nor an error about unreachability. */
static __always_inline int is_beyond_reject(const struct machine *m)
{
	__u32 type = l4_word(m) >> 16;

	if (m->w[W_CLASS] & CLASS_TCP)
		return !m->l4 || m->w[W_TCP_FLAGS] & TCP_RST;
	if (m->w[W_CLASS] & CLASS_ICMP4)
		return !m->l4 || type == ICMP4_UNREACHABLE;
	if (m->w[W_CLASS] & CLASS_ICMP6)
		return !m->l4 || type == ICMP6_UNREACHABLE;
	return 0;
}

/* The verb that reject{} stands for: its answers go straight back. */
static __always_inline __u32 reject_verb(const struct machine *m)
{
	if (m->w[W_CLASS] & CLASS_TCP)
		return OP_GEN_TCP_RESET;
	if (m->w[W_CLASS] & CLASS_SCTP)
		return OP_GEN_SCTP_ABORT;
	return OP_GEN_ICMP4;
}

/* As the answer_ functions. */
static __noinline int compose(struct __sk_buff *skb, const struct machine *m,
			      __u32 verb)
{
	__u32 back = verb == OP_GEN_REJECT;

	if (!m->ip_end)
		return -DROP_GENERATE;
	if (back) {
		if (is_beyond_reject(m))
			return 1;
		verb = reject_verb(m);
	}
	if (verb >= OP_GEN_ARP && verb <= OP_GEN_ND_NA_ROUTER)
		return answer_neighbour(skb, verb);
	if (verb == OP_GEN_TCP_RESET)
		return answer_reset(skb, back);
	if (verb == OP_GEN_SCTP_ABORT)
		return answer_abort(skb, back);
	if (verb == OP_GEN_DHCP_SERVER)
		return dhcp_answer(skb);
	if (!is_icmp(verb))
		return -DROP_GENERATE;
	return answer_error(skb, verb == OP_GEN_ICMP4 || verb == OP_GEN_ICMP6,
			    back);
}

/* The tag of the packet is on ARP, DHCP and errors, not on other answers. */
static __always_inline __u32 tag_of(const __u32 *w, __u32 verb)
{
	int tagged = verb == OP_GEN_ARP || verb == OP_GEN_DHCP_SERVER ||
		     is_icmp(verb) ||
		     (verb == OP_GEN_REJECT &&
		      !(w[W_CLASS] & (CLASS_TCP | CLASS_SCTP)));

	return tagged ? w[W_ETH_TYPE_TCI] & 0xffff : 0;
}

__noinline int generate_queue(struct __sk_buff *skb, __u32 verb, __u32 pc)
{
	struct machine *m = machine();
	struct generated *g;
	int result;

	if (!m)
		return -DROP_NO_STATE;
	if (m->gen_tail - m->gen_head >= MAX_GENERATED)
		return -DROP_GENERATED_FULL;
	g = next_answer(m);
	if (!g)
		return -DROP_NO_STATE;
	result = deparse(skb);
	if (result)
		return result;
	g->verb = verb;
	g->pc = pc;
	g->frame_len = skb->len;
	keep_words(g->w, m->w);
	g->w[W_ETH_TYPE_TCI] = tag_of(m->w, verb);
	/* As with a controller: the packet's own way does not depend on it. */
	result = compose(skb, m, verb);
	if (!result && (verb == OP_GEN_ARP || verb == OP_GEN_ND_NS)) {
		m->gen_tail += may_ask(verb);
		result = answer_hold(skb, verb);
	} else if (!result) {
		m->gen_tail++;
	}
	if (result < 0)
		count_drop(-result & 0x3f);
	return 0;
}

/*
 * Set skb->protocol to the type in the Ethernet header: a device that takes the
 * skb over as it is (bpf_redirect_peer) goes by it. The kernel looks at the
 * bytes anew when a tag is taken out of them.
 */
static __always_inline int retype(struct __sk_buff *skb)
{
	__u16 proto = bpf_htons(ETHERTYPE_VLAN);

	return bpf_skb_vlan_push(skb, proto, 1) ||
	       bpf_skb_vlan_push(skb, proto, 1) || bpf_skb_vlan_pop(skb) ||
	       bpf_skb_vlan_pop(skb);
}

/*
 * Make the skb size bytes long and forget that the device should fill in a
 * checksum: the kernel does when the place from which it counts is pulled off
 * the front. No smaller length would be allowed before that, so the packet is
 * made longer by what is pulled first.
 */
static __always_inline int resize(struct __sk_buff *skb, __u32 size)
{
	__u16 type = bpf_htons(ETHERTYPE_IP);

	if (skb->vlan_present && bpf_skb_vlan_pop(skb))
		return -1;
	if (skb->protocol != bpf_htons(ETHERTYPE_IP) &&
	    skb->protocol != bpf_htons(ETHERTYPE_IPV6)) {
		/* An ARP request of an earlier answer; only IP can shrink. */
		if (bpf_skb_store_bytes(skb, 12, &type, 2, 0) || retype(skb))
			return -1;
	}
	if (bpf_skb_change_tail(skb, size + PULL_BYTES, 0))
		return -1;
	return bpf_skb_adjust_room(skb, -PULL_BYTES, BPF_ADJ_ROOM_MAC, 0);
}

__noinline int generate_run(struct __sk_buff *skb)
{
	struct machine *m = machine();
	struct generated *g;
	__u32 index, size;
	int result;

	if (!m)
		return -DROP_NO_STATE;
	index = m->gen_head++ & (MAX_GENERATED - 1);
	g = bpf_map_lookup_elem(&generated, &index);
	if (!g)
		return -DROP_NO_STATE;
	size = g->len;
	if (size < MIN_ANSWER || size > MAX_GENERATED_BYTES)
		return -DROP_GENERATE;
	if (resize(skb, size))
		return -DROP_GENERATE;
	/* A complete checksum (skb->csum) leaves out the Ethernet header. */
	if (bpf_skb_store_bytes(skb, 0, g->data, ETH_BYTES, 0) ||
	    bpf_skb_store_bytes(skb, ETH_BYTES, g->data + ETH_BYTES,
				size - ETH_BYTES, BPF_F_RECOMPUTE_CSUM))
		return -DROP_GENERATE;
	if (skb->protocol != *(__u16 *)(g->data + 12) && retype(skb))
		return -DROP_GENERATE;
	bpf_set_hash_invalid(skb);
	result = parse(skb);
	if (result)
		return result;
	__builtin_memcpy(m->w, g->w, W_ETH_HI * sizeof(__u32));
	m->w[W_ETH_TYPE_TCI] |= g->w[W_ETH_TYPE_TCI];
	return 0;
}
