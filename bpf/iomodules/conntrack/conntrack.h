/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Connection tracking: state of the packet's connection in a zone. */
#pragma once

#include <linux/types.h>

struct __sk_buff;

/* Look the packet up in the zone: sets the ct_state, ct_mark, ct_label words. */
int ct_next(struct __sk_buff *skb, __u32 zone);

/*
 * Create or refresh the packet's connection in the zone; write the mark and
 * label bits of Temp.CT_* that flags (enum ct_flag) select. The packet's own
 * ct words stay as they are.
 */
int ct_commit(struct __sk_buff *skb, __u32 zone, __u32 flags);

/*
 * As ct_next, and translate the packet as its connection says. With CT_F_COMMIT
 * make an entry first if there is none; with CT_F_SNAT or CT_F_DNAT one that
 * translates, into Temp.NAT_*. Marks as in ct_commit.
 */
int ct_nat(struct __sk_buff *skb, __u32 zone, __u32 flags);
