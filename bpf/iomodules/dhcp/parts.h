/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Parts of this module, for itself. All work on the message in dhcp_scratch. */
#pragma once

#include "iomodules/dhcp/dhcp_maps.h"

#define DHCP_COOKIE 0x63825363
#define DHCP_AT 240 /* where options begin */

enum dhcp_type {
	DHCP_DISCOVER = 1,
	DHCP_OFFER,
	DHCP_REQUEST,
	DHCP_DECLINE,
	DHCP_ACK,
	DHCP_NAK,
	DHCP_RELEASE,
	DHCP_INFORM,
};

enum dhcp_option {
	OPTION_PAD = 0,
	OPTION_REQUESTED = 50,
	OPTION_LEASE = 51,
	OPTION_OVERLOAD = 52,
	OPTION_TYPE = 53,
	OPTION_SERVER = 54,
	OPTION_MESSAGE = 56,
	OPTION_MAX_SIZE = 57,
	OPTION_T1 = 58,
	OPTION_T2 = 59,
	OPTION_CLIENT = 61,
	OPTION_RELAY = 82,
	OPTION_END = 255,
};

/* An address, as far as the client of the message is concerned. */
enum dhcp_holder {
	HOLDER_NOBODY, /* free, and another's or nobody's before */
	HOLDER_CLIENT, /* its own, perhaps expired */
	HOLDER_OTHER, /* not to be had now */
};

/* Read the message: 0 or a negative enum drop. */
int dhcp_read(struct __sk_buff *skb);

/*
 * Make the client the holder of an address for some seconds, if it is free or
 * the client's; an offer changes nothing of a lease in force. 0: it has it now; 1:
 * somebody else does, or there is no room.
 */
int dhcp_take(__u32 ip, __u32 state, __u32 seconds);

/*
 * Take an address from its holder, the client: for other clients after some
 * seconds. only: do nothing unless it is in this state (DHCP_FREE: any).
 */
int dhcp_give_back(__u32 ip, __u32 state, __u32 seconds, __u32 only);

/* enum dhcp_holder */
int dhcp_holder(__u32 ip);

/* Whether the pool's settings let the client have an address. */
int dhcp_may_have(__u32 ip);

/* An address that is free for anybody, or 0; by the time it is taken it may not be. */
__u32 dhcp_find(void);

/* Bytes for the pool's options. */
__u32 dhcp_room(__u32 has_times);

/* Put the reply of a type into generated[]; yiaddr 0 in all but OFFER and ACK. */
int dhcp_reply(struct __sk_buff *skb, __u32 type, __u32 yiaddr);
