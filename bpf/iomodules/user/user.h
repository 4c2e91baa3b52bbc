/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Programs that users wrote. The machine lets go of its loop before it runs one:
 * a tail call does not work inside a callback.
 */
#pragma once

#include "lib/machine.h"

/*
 * Write the words into the packet, run module m->call.module on it, read the packet
 * again. Returns IOM_PASS or IOM_PORT(n) with n one of its ports, or a negative
 * drop reason. Words below W_ETH_HI stay, but for W_PKT_MARK.
 */
int user_call(struct __sk_buff *skb);

/*
 * Send a copy of the packet, words written, with the call that is under way to
 * the device where the program again takes it up. For a packet of which other
 * copies wait: they must not see what a module changes. The words in m are the
 * packet's afterwards, too.
 */
int user_park(struct __sk_buff *skb);

/* Take up a copy: words below W_ETH_HI, and the call as it was. */
int user_unpark(struct __sk_buff *skb);
