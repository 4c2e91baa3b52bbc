// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* Which port of a switch a MAC address is behind, learned from its packets. */
#include "iomodules/fdb/fdb.h"
#include "iomodules/fdb/fdb_maps.h"

static __always_inline void read_key(const struct machine *m,
				     struct fdb_key *key)
{
	key->dp = m->w[W_DATAPATH];
	key->mac_hi = m->w[T_MAC_HI];
	key->mac_lo = m->w[T_MAC_LO];
}

static __always_inline void touch(struct fdb *fdb)
{
	__u64 now = bpf_ktime_get_coarse_ns();

	if (now - fdb->used_ns >= SECOND_NS)
		fdb->used_ns = now;
}

static __always_inline int tell(const struct machine *m,
				const struct fdb_key *key)
{
	struct event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);

	if (!event)
		return -1;
	__builtin_memset(event, 0, sizeof(*event));
	event->kind = EVENT_FDB;
	event->dp = key->dp;
	event->port = m->w[T_PORT];
	event->mac_hi = key->mac_hi;
	event->mac_lo = key->mac_lo;
	bpf_ringbuf_submit(event, 0);
	return 0;
}

/* Count an address more: 0 if the datapath may learn no more. */
static __always_inline int take_room(struct fdb_room *room)
{
	__s32 learned = __sync_fetch_and_add(&room->added, 1) - room->removed;

	if (!room->limit || learned < (__s32)room->limit)
		return 1;
	__sync_fetch_and_sub(&room->added, 1);
	__sync_fetch_and_add(&room->refused, 1);
	return 0;
}

__noinline int fdb_get(struct __sk_buff *skb)
{
	struct machine *m = machine();
	struct fdb_key key = {};
	struct fdb *fdb;

	(void)skb; /* the state says it all */
	if (!m)
		return -DROP_NO_STATE;
	read_key(m, &key);
	fdb = bpf_map_lookup_elem(&fdb_entries, &key);
	m->w[T_RESULT] = fdb ? fdb->port : 0;
	return 0;
}

__noinline int fdb_put(struct __sk_buff *skb)
{
	struct machine *m = machine();
	struct fdb_key key = {};
	struct fdb fresh = {};
	struct fdb_room *room;
	struct fdb *fdb;

	(void)skb; /* the state says it all */
	if (!m)
		return -DROP_NO_STATE;
	read_key(m, &key);
	fdb = bpf_map_lookup_elem(&fdb_entries, &key);
	if (fdb) {
		if (fdb->port == m->w[T_PORT] && !fdb->untold) {
			touch(fdb);
			return 0;
		}
		fdb->port = m->w[T_PORT];
		fdb->used_ns = bpf_ktime_get_coarse_ns();
		fdb->untold = tell(m, &key) ? 1 : 0;
		return 1;
	}
	room = bpf_map_lookup_elem(&fdb_rooms, &key.dp);
	/* Without room the packet goes on, and those to its sender are flooded. */
	if (!room || !take_room(room))
		return 0;
	fresh.port = m->w[T_PORT];
	fresh.used_ns = bpf_ktime_get_coarse_ns();
	fresh.untold = tell(m, &key) ? 1 : 0;
	/* A full map is no reason to drop the packet that taught us. */
	if (!bpf_map_update_elem(&fdb_entries, &key, &fresh, BPF_NOEXIST))
		return 1;
	__sync_fetch_and_sub(&room->added, 1);
	return 0;
}

__noinline int fdb_lookup(struct __sk_buff *skb)
{
	struct machine *m = machine();
	struct fdb_key key = {};
	struct fdb *fdb;

	(void)skb; /* the state says it all */
	if (!m)
		return -DROP_NO_STATE;
	read_key(m, &key);
	fdb = bpf_map_lookup_elem(&fdb_entries, &key);
	m->w[T_RESULT] = fdb && fdb->port == m->w[T_PORT] && !fdb->untold;
	if (m->w[T_RESULT])
		touch(fdb);
	return 0;
}
