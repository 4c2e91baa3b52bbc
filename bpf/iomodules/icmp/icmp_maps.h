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

/*
 * Key: a next hop that is not known. Value: when it was asked for last, in
 * nanoseconds of CLOCK_MONOTONIC. Written by may_ask() and by the agent, read by
 * may_ask(), where there is a limit. One for each next hop that packets may
 * wait for, four times; when full, the oldest goes and may be asked for again.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct neigh_key);
	__type(value, __u64);
} asked SEC(".maps");
