/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Verbs that answer a packet with another: ICMP errors, resets, ARP, ND. */
#pragma once

#include <linux/types.h>

struct __sk_buff;

/*
 * Put an answer together from the packet as rewritten so far, and queue it in
 * generated[gen_tail] with the body's pc. For arp{} and nd_ns{} the packet
 * itself goes to the agent, which holds it until the neighbour is known. A
 * packet that gets no answer is no failure: it goes on.
 */
int generate_queue(struct __sk_buff *skb, __u32 verb, __u32 pc);

/*
 * Turn the skb into the answer that generated[gen_head] asks for and set the
 * words: pipeline state as it was queued, packet fields of the answer.
 */
int generate_run(struct __sk_buff *skb);

/* Give the packet, as it came, to a service of the agent (EVENT_PACKET). */
int punt(struct __sk_buff *skb);
