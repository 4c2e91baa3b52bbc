/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Neighbour table: MAC addresses of IP addresses behind router ports. */
#pragma once

#include <linux/types.h>

struct __sk_buff;

/* get_arp, get_nd: eth.dst = MAC of (T_PORT, T_IP*), 0 if none. */
int neigh_get(struct __sk_buff *skb);

/* put_arp, put_nd: learn (T_PORT, T_IP*) -> T_MAC_*, tell the agent; 1 if it is new. */
int neigh_put(struct __sk_buff *skb);

/* lookup_*: T_RESULT = (T_PORT, T_IP*) is known and, if check_mac, is T_MAC_*. */
int neigh_lookup(struct __sk_buff *skb, __u32 check_mac);
