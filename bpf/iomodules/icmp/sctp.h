/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* SCTP checksum (CRC32c). */
#pragma once

struct __sk_buff;

/* Write the SCTP checksum of the packet anew (its header is at m->l4). */
int sctp_checksum(struct __sk_buff *skb);
