/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* DHCPv4 server: addresses given away by the kernel, also while nobody else is up. */
#pragma once

struct __sk_buff;

/*
 * dhcp_server{}: do what the DHCP message at hand asks of the pool T_POOL, and
 * put the reply, with all its headers, into the next free generated[]: 0. 1: the
 * message is dealt with and gets none. A negative enum drop: nothing was done.
 * The packet's bytes are those of its words (deparse() has been called).
 */
int dhcp_answer(struct __sk_buff *skb);
