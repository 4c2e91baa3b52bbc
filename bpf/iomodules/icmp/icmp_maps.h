/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#pragma once

#include "lib/machine.h"

/* An EVENT_HOLD as it goes into the ring buffer. */
struct hold {
	struct event event;
	__u8 data[EVENT_DATA_SIZE];
};

/*
 * Key: 0. Value: room to put a record together whose size is known only then
 * (bpf_ringbuf_reserve wants a constant). Written and read by hold() within one
 * run on one CPU. Nothing can be full.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct hold);
} holds SEC(".maps");
