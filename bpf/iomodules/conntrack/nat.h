/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Connections with NAT, inside this module. All speak of the connection at
 * ct_scratch.key (directed) with the translation in nat_ip, nat_port, nat_flags.
 */
#pragma once

/* From the alias at the key to the connection that it leads to. */
int nat_original(void);

/* From the connection to its alias, in ct_scratch.alias. */
int nat_alias(void);

/*
 * Open the connection ct_scratch.value of the packet at the (plain) key, with
 * the translation that flags (enum ct_flag) and Temp.NAT_* ask for, and
 * translate the packet. Without CT_F_SNAT or CT_F_DNAT the addresses stay.
 * Returns a drop reason, or CT_SNAT or CT_DNAT.
 */
int nat_open(__u32 flags);

/*
 * The connection's end is ct_scratch.expires_ns now: so is its alias's. If the
 * packet opens another one the key is the packet's own afterwards.
 */
int nat_extend(__u32 opens);

/* Move both entries to the established ones. */
int nat_promote(void);

/* Translate the packet's words; returns CT_SNAT or CT_DNAT. */
int nat_translate(void);
