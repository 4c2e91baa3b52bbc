/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Connection tracking: state of the packet's connection in a zone. */
#pragma once

#include "abi/generated.h"
#include "lib/bpf.h"

/* Flags beside enum ct_flag. */
#define TRACK_WORDS 0x100 /* write the packet's ct words */
#define TRACK_NAT 0x200 /* translate as the entry says */

/* What one step leaves to the next ones. */
#define TRACK_HAS_NAT 0x01 /* ct_track_nat() */
#define TRACK_OPENS 0x02 /* ct_open() */
#define TRACK_EXTEND 0x04 /* nat_extend() */
#define TRACK_PROMOTE 0x08 /* nat_promote() */

int ct_track(struct __sk_buff *skb, __u32 zone, __u32 flags);
int ct_track_nat(__u32 zone, __u32 flags);
int ct_open(__u32 zone, __u32 flags);
int nat_extend(__u32 opens);
int nat_promote(void);

/*
 * All of ct(), step by step: side by side they fit onto the stack, one below the
 * other they would not.
 */
static __always_inline int ct_run(struct __sk_buff *skb, __u32 zone,
				  __u32 flags)
{
	int result;

	zone &= 0xffff;
	result = ct_track(skb, zone, flags);
	if (result <= 0)
		return result;
	if (result & TRACK_HAS_NAT)
		result = ct_track_nat(zone, flags);
	if (result <= 0)
		return result;
	if (result & TRACK_EXTEND)
		nat_extend(result & TRACK_OPENS);
	if (result & TRACK_PROMOTE)
		nat_promote();
	return result & TRACK_OPENS ? ct_open(zone, flags) : 0;
}

/* Look the packet up in the zone: sets the ct_state, ct_mark, ct_label words. */
static __always_inline int ct_next(struct __sk_buff *skb, __u32 zone)
{
	return ct_run(skb, zone, TRACK_WORDS);
}

/*
 * Create or refresh the packet's connection in the zone; write the mark and
 * label bits of Temp.CT_* that flags (enum ct_flag) select. The packet's own
 * ct words stay as they are.
 */
static __always_inline int ct_commit(struct __sk_buff *skb, __u32 zone,
				     __u32 flags)
{
	return ct_run(skb, zone,
		      (flags & (CT_F_MARK | CT_F_LABEL)) | CT_F_COMMIT);
}

/*
 * As ct_next, and translate the packet as its connection says. With CT_F_COMMIT
 * make an entry first if there is none; with CT_F_SNAT or CT_F_DNAT one that
 * translates, into Temp.NAT_*. Marks as in ct_commit.
 */
static __always_inline int ct_nat(struct __sk_buff *skb, __u32 zone,
				  __u32 flags)
{
	return ct_run(skb, zone,
		      (flags & ~CT_F_KEEP) | TRACK_WORDS | TRACK_NAT);
}

/*
 * 1 if the packet answers one whose source the zone has translated; an error about
 * one is no answer.
 */
int ct_is_answer(struct __sk_buff *skb, __u32 zone);

/*
 * Where the packet, whose destination the zone has translated, was sent to: into
 * Temp.NAT_*. 0 if it was not.
 */
int ct_find_vip(struct __sk_buff *skb, __u32 zone);
