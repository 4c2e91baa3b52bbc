/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#pragma once

#include <linux/types.h>

struct __sk_buff;

/* Remember a first fragment, complete the words of a later one. */
int ct_fragment(struct __sk_buff *skb, __u32 zone);

/* 1 if the packet in the skb is a fragment, whatever its words say by now. */
int ct_is_fragment(struct __sk_buff *skb);
