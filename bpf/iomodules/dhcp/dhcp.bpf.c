// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * The server: what each message does to the leases and which reply it gets
 * (RFC 2131, section 4.3). The pool's addresses are this server's alone, so it
 * says no where another client has one, and lets a client keep one of which it
 * knows nothing and nobody else does.
 */
#include "iomodules/dhcp/dhcp.h"
#include "iomodules/dhcp/parts.h"

struct dhcp_pools_map dhcp_pools SEC(".maps");
struct dhcp_hosts_map dhcp_hosts SEC(".maps");
struct dhcp_fixed_map dhcp_fixed SEC(".maps");
struct dhcp_leases_map dhcp_leases SEC(".maps");
struct dhcp_clients_map dhcp_clients SEC(".maps");
struct dhcp_groups_map dhcp_groups SEC(".maps");
struct dhcp_hunts_map dhcp_hunts SEC(".maps");
struct dhcp_scratch_map dhcp_scratch SEC(".maps");

#define MAX_RACES 4 /* searches for one client */

/* What dhcp_offer() and its like say besides a type of reply or a drop. */
#define NO_REPLY 0

/* The address that the client had last, if the pool remembers. */
static __always_inline __u32 last_address(struct dhcp_scratch *s)
{
	__u32 *ip = bpf_map_lookup_elem(&dhcp_clients, &s->client);

	return ip ? *ip : 0;
}

/* Offer an address if the client may have it and nobody else has. */
static __always_inline int try_offer(__u32 ip, __u32 offer_s)
{
	return ip && dhcp_may_have(ip) && !dhcp_take(ip, DHCP_OFFERED, offer_s);
}

/*
 * An address for a DISCOVER, 0 if there is none: its own by reservation, the one it
 * had, the one it asks for, any (RFC 2131, section 4.3.1).
 */
static __noinline __u32 offered(struct dhcp_scratch *s, __u32 offer_s)
{
	__u32 ip = s->reserved;

	if (try_offer(ip, offer_s))
		return ip;
	ip = last_address(s);
	if (ip && dhcp_holder(ip) == HOLDER_CLIENT && try_offer(ip, offer_s))
		return ip;
	ip = s->requested;
	if (try_offer(ip, offer_s))
		return ip;
	for (int i = 0; i < MAX_RACES; i++) {
		ip = dhcp_find();
		if (!ip)
			return 0;
		if (!dhcp_take(ip, DHCP_OFFERED, offer_s))
			return ip;
	}
	return 0;
}

/* Whether a client that knows an address should hear that it is not its own. */
static __always_inline int is_refused(struct dhcp_scratch *s,
				      const struct dhcp_pool *pool, __u32 ip)
{
	if ((ip ^ pool->server_ip) & pool->netmask)
		return 1;
	return s->server_id || dhcp_holder(ip) == HOLDER_CLIENT;
}

/* REQUEST: NO_REPLY, DHCP_ACK, DHCP_NAK; the address asked for is ip. */
static __noinline int requested(struct dhcp_scratch *s,
				const struct dhcp_pool *pool, __u32 ip)
{
	int reboots = !s->server_id && s->requested && !s->ciaddr;
	int holder;

	/* One whose reservation came later moves there. */
	if (s->reserved && s->reserved != ip &&
	    dhcp_holder(s->reserved) != HOLDER_OTHER)
		return DHCP_NAK;
	if (!dhcp_may_have(ip))
		return is_refused(s, pool, ip) ? DHCP_NAK : NO_REPLY;
	holder = dhcp_holder(ip);
	if (holder == HOLDER_OTHER)
		return DHCP_NAK;
	if (holder == HOLDER_NOBODY && reboots)
		return last_address(s) ? DHCP_NAK : NO_REPLY;
	return dhcp_take(ip, DHCP_BOUND, s->lease_s) ? DHCP_NAK : DHCP_ACK;
}

/* Type of reply (0: none), or a negative drop; *yiaddr is the address in it. */
static __always_inline int decide(struct dhcp_scratch *s, struct machine *m,
				  const struct dhcp_pool *pool, __u32 *yiaddr)
{
	int is_ours = !s->server_id || s->server_id == pool->server_ip;
	__u32 ip = s->requested ?: s->ciaddr;
	int type;

	switch (s->type) {
	case DHCP_DISCOVER:
		*yiaddr = offered(s, pool->offer_s);
		return *yiaddr ? DHCP_OFFER : -DROP_DHCP_EXHAUSTED;
	case DHCP_REQUEST:
		if (!is_ours) {
			/* Another server's: ours will not be asked for. */
			dhcp_give_back(last_address(s), DHCP_FREE, 0,
				       DHCP_OFFERED);
			return -DROP_DHCP_SILENT;
		}
		if (!ip)
			return -DROP_DHCP_MALFORMED;
		type = requested(s, pool, ip);
		*yiaddr = type == DHCP_ACK ? ip : 0;
		return type ?: -DROP_DHCP_SILENT;
	case DHCP_DECLINE:
		if (!is_ours || dhcp_give_back(s->requested, DHCP_DECLINED,
					       pool->rest_s, DHCP_FREE))
			return -DROP_DHCP_SILENT;
		return NO_REPLY;
	case DHCP_RELEASE:
		if (!is_ours ||
		    dhcp_give_back(s->ciaddr, DHCP_FREE, 0, DHCP_FREE))
			return -DROP_DHCP_SILENT;
		return NO_REPLY;
	case DHCP_INFORM:
		s->ciaddr = s->ciaddr ?: m->w[W_IP4_SRC];
		return s->ciaddr ? DHCP_ACK : -DROP_DHCP_MALFORMED;
	default:
		return -DROP_DHCP_MALFORMED;
	}
}

__noinline int dhcp_answer(struct __sk_buff *skb)
{
	struct dhcp_scratch *s = dhcp_message();
	struct machine *m = machine();
	struct dhcp_pool *pool;
	__u32 yiaddr = 0;
	int result;

	if (!s || !m)
		return -DROP_NO_STATE;
	s->pool = m->w[T_POOL];
	s->now = bpf_ktime_get_boot_ns();
	pool = bpf_map_lookup_elem(&dhcp_pools, &s->pool);
	if (!pool || !pool->is_on)
		return -DROP_DHCP_NO_POOL;
	result = dhcp_read(skb);
	if (result)
		return result;
	/* A client may ask for less. */
	if (!s->lease_s || s->lease_s > pool->lease_s)
		s->lease_s = pool->lease_s;
	result = decide(s, m, pool, &yiaddr);
	if (result <= 0)
		return result ?: 1;
	return dhcp_reply(skb, result, yiaddr);
}
