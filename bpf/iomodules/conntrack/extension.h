/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Walk over IPv6 extension headers, one step at a time. */
#pragma once

#include "iomodules/conntrack/conntrack_maps.h"

#define MAX_EXTENSIONS 8

#define NEXTHDR_HOP 0
#define NEXTHDR_ROUTING 43
#define NEXTHDR_FRAGMENT 44
#define NEXTHDR_AUTH 51
#define NEXTHDR_DEST 60
#define NEXTHDR_MOBILITY 135

static __always_inline int is_extension(__u32 next)
{
	return next == NEXTHDR_HOP || next == NEXTHDR_ROUTING ||
	       next == NEXTHDR_DEST || next == NEXTHDR_AUTH ||
	       next == NEXTHDR_FRAGMENT || next == NEXTHDR_MOBILITY;
}

/* Read the header at s->at (type s->next) into s->header and step over it. */
static __always_inline int step_extension(struct __sk_buff *skb,
					  struct ct_scratch *s, __u32 end)
{
	__u32 at = s->at, length;

	if (at + 8 > end || bpf_skb_load_bytes(skb, at, s->header, 8))
		return -1;
	if (s->next == NEXTHDR_FRAGMENT)
		length = 8;
	else if (s->next == NEXTHDR_AUTH)
		length = (s->header[1] + 2) * 4;
	else
		length = (s->header[1] + 1) * 8;
	if (at + length > end)
		return -1;
	s->at = at + length;
	s->next = s->header[0];
	return 0;
}
