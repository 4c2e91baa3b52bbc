/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#pragma once

#include "lib/machine.h"

#define MAX_FDB_ENTRIES 65536

/*
 * Key: datapath, MAC address. Value: the port behind which it is. Written by
 * the agent (FDB rows) and by fdb_put; read by fdb_get and fdb_lookup. The size
 * is that of the neighbour map: a MAC address of an unknown port per neighbour.
 * When full, nothing new is learned here: the agent hears of the address and
 * writes the row, and packets to it are flooded.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MAX_FDB_ENTRIES);
	__type(key, struct fdb_key);
	__type(value, struct fdb);
} fdb_entries SEC(".maps");

/*
 * Key: datapath index. Value: how many addresses it may learn and has learned.
 * `added` and `refused` are written by fdb_put, `limit` and `removed` by the
 * agent, so that neither undoes what the other counts. One for each datapath:
 * it is never full.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, MAX_DATAPATHS);
	__type(key, __u32);
	__type(value, struct fdb_room);
} fdb_rooms SEC(".maps");
