/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* SCTP checksum (CRC32c). */
#pragma once

struct __sk_buff;

/*
 * Bring the SCTP checksum of the packet (header at m->l4) up to date with the
 * ports, already stored, that differ between m->w and m->wire. A checksum that
 * was wrong stays wrong: corruption on the way is not covered up.
 */
int sctp_checksum(struct __sk_buff *skb);
