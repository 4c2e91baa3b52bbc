// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * A user's program is a tc program of its own, which the user's own verifying
 * has shown to end. It is entered by a tail call from user_enter(), a function
 * with a frame of its own: what the kernel leaves by a tail call is that frame
 * alone, so the program returns to who called user_enter().
 */
#include "iomodules/user/user.h"
#include "iomodules/user/user_maps.h"

#include <iovisor_ovn/module.h>

#define NO_PROGRAM (-0x107e7e7) /* what no program returns by accident */

/*
 * Global, and its result hidden from the compiler: both the verifier and clang
 * would otherwise take it for the constant that stands behind the tail call.
 */
__noinline int user_enter(struct __sk_buff *skb, __u32 module)
{
	int verdict = NO_PROGRAM;

	bpf_tail_call(skb, &modules, module);
	asm volatile("" : "+r"(verdict));
	return verdict;
}

/* Count the call and say what it means: a verdict or a negative drop reason. */
static __always_inline int verdict_of(const struct module_call *call,
				      int verdict)
{
	__u32 module = call->module;
	struct module_count *count =
		bpf_map_lookup_elem(&module_counts, &module);

	if (!count)
		return -DROP_NO_STATE;
	if (verdict == NO_PROGRAM) {
		count->missing++;
		return -DROP_MODULE_MISSING;
	}
	if (verdict == IOM_PASS) {
		count->passed++;
		return IOM_PASS;
	}
	if (verdict == IOM_DROP) {
		count->dropped++;
		return -DROP_MODULE;
	}
	if (verdict < IOM_FIRST_PORT ||
	    (__u32)verdict - IOM_FIRST_PORT >= call->ports) {
		count->invalid++;
		return -DROP_MODULE_VERDICT;
	}
	count->sent++;
	return verdict;
}

__noinline int user_call(struct __sk_buff *skb)
{
	struct machine *m = machine();
	int result, verdict;

	if (!m)
		return -DROP_NO_STATE;
	result = deparse(skb);
	if (result)
		return result;
	skb->cb[IOM_CB_PORT] = m->call.port;
	skb->cb[IOM_CB_PORTS] = m->call.ports;
	skb->cb[IOM_CB_REACH] = m->call.reach;
	verdict = verdict_of(&m->call, user_enter(skb, m->call.module));
	if (verdict < 0)
		return verdict;
	result = parse(skb);
	if (result)
		return result;
	m->w[W_PKT_MARK] = skb->mark;
	return verdict;
}

__noinline int user_park(struct __sk_buff *skb)
{
	struct machine *m = machine();
	__u32 zero = 0, slot, ticket;
	__u32 *device = bpf_map_lookup_elem(&module_device, &zero);
	__u32 *last = bpf_map_lookup_elem(&tickets, &zero);
	struct parked *item;
	int result;

	if (!m || !device || !last)
		return -DROP_NO_STATE;
	ticket = __sync_fetch_and_add(last, 1) + 1;
	slot = ticket % MAX_PARKED;
	item = bpf_map_lookup_elem(&parked, &slot);
	if (!item || !*device)
		return -DROP_MODULE_COPY;
	result = deparse(skb);
	if (result)
		return result;
	item->ticket = ticket;
	item->pc = m->pc;
	item->call = m->call;
	item->exit = m->exit;
	item->call.reach |= REACH_COPY;
	__builtin_memcpy(item->w, m->w, sizeof(item->w));
	skb->cb[IOM_CB_PORT] = ticket;
	if (bpf_clone_redirect(skb, *device, BPF_F_INGRESS))
		return -DROP_MODULE_COPY;
	return 0;
}

__noinline int user_unpark(struct __sk_buff *skb)
{
	struct machine *m = machine();
	__u32 ticket = skb->cb[IOM_CB_PORT], slot = ticket % MAX_PARKED;
	struct parked *item = bpf_map_lookup_elem(&parked, &slot);

	if (!m || !item)
		return -DROP_NO_STATE;
	if (!ticket || item->ticket != ticket)
		return -DROP_MODULE_COPY;
	m->pc = item->pc;
	m->call = item->call;
	m->exit = item->exit;
	__builtin_memcpy(m->w, item->w, sizeof(item->w));
	item->ticket = 0;
	return 0;
}
