/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Load balancing: the choice of a backend, and what clients had before. */
#pragma once

#include <linux/types.h>

/* 32 well mixed bits of the packet's fields (enum lb_field). */
__u32 lb_hash(__u32 fields);

/*
 * The backend that the packet's sender had last for where it sends to: 1, and its
 * address in the word for IPv4 or the four for IPv6, its port in the lower half of
 * another; else 0.
 */
int affinity_get(__u32 ip4, __u32 ip6, __u32 port);

/*
 * Remember Temp.NAT_IP and the lower half of Temp.NAT_PORTS as the backend of the
 * packet's sender for VIP Temp.IP and the upper half, for so many seconds of
 * silence. proto 0: whatever is sent there.
 */
int affinity_put(__u32 proto, __u32 timeout_s);
