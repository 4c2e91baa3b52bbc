/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The packet that the helpers on the host work on. */
#pragma once

#include "lib/machine.h"

extern struct machine the_machine;

/* Take a copy of bytes as the packet of an skb. */
void packet_set(struct __sk_buff *skb, const __u8 *bytes, __u32 len);

/* Its bytes, skb->len of them. */
const __u8 *packet_bytes(void);
