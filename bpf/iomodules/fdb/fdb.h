/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Forwarding database: ports of MAC addresses that a switch learned. */
#pragma once

struct __sk_buff;

/* get_fdb: T_RESULT = port key of T_MAC_*, 0 if unknown. */
int fdb_get(struct __sk_buff *skb);

/* put_fdb: learn T_MAC_* on T_PORT, tell the agent; 1 if it is new. */
int fdb_put(struct __sk_buff *skb);

/* lookup_fdb: T_RESULT = T_MAC_* is known on T_PORT. */
int fdb_lookup(struct __sk_buff *skb);
