/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * TCP as OVS's userspace conntrack follows it (lib/conntrack-tcp.c, after
 * OpenBSD's pf; the window test is that of G. van Rooij, "Real stateful TCP
 * packet filtering in IP Filter", 2001). Per end: the end of what it has sent
 * (seqlo), the end of what it may send (seqhi), its largest window.
 */
#pragma once

#include "iomodules/conntrack/conntrack_maps.h"

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_PSH 0x08
#define TCP_ACK 0x10
#define TCP_URG 0x20

#define WSCALE_SEEN 0x80
#define WSCALE_UNKNOWN 0x40 /* picked up mid-stream */
#define WSCALE_MASK 0x0f
#define WSCALE_MAX 14

/* How far an acknowledgment may be off: a window and a bit. */
#define MAX_ACK_SKEW (0xffff + 1500)

/* States of one end; the numbers that OVS shows by name. */
enum tcp_state {
	TCPS_CLOSED = 0,
	TCPS_SYN_SENT = 2,
	TCPS_ESTABLISHED = 4,
	TCPS_CLOSING = 7,
	TCPS_FIN_WAIT_2 = 9,
	TCPS_TIME_WAIT = 10,
};

/* What a packet means to its entry. */
enum update {
	UPDATE_INVALID,
	UPDATE_VALID, /* established */
	UPDATE_STILL_NEW,
	UPDATE_REOPENS, /* the entry is over, a new connection begins */
};

static __always_inline __s32 seq_after(__u32 a, __u32 b)
{
	return (__s32)(a - b); /* > 0: a is later, modulo 2^32 */
}

static __always_inline __u32 at_least_1(__u32 value)
{
	return value ? value : 1;
}

static __always_inline __u32 unscale(__u32 win, __u32 shift)
{
	return (win + (1U << shift) - 1) >> shift;
}

static __always_inline int tcp_flags_invalid(__u32 flags)
{
	if (flags & TCP_SYN ? flags & (TCP_RST | TCP_FIN) :
			      !(flags & (TCP_ACK | TCP_RST)))
		return 1;
	return !(flags & TCP_ACK) && flags & (TCP_FIN | TCP_PSH | TCP_URG);
}

/* A lone SYN, or the middle of a stream, may open; the answer to a SYN not. */
static __always_inline int tcp_may_open(__u32 flags)
{
	return !tcp_flags_invalid(flags) &&
	       (flags & (TCP_SYN | TCP_ACK)) != (TCP_SYN | TCP_ACK);
}

static __always_inline void tcp_open(struct conn *conn,
				     const struct ct_scratch *s)
{
	__u32 win = at_least_1(s->win);

	conn->seqlo[0] = s->seq;
	conn->seqhi[0] = s->seq + s->len + 1;
	if (s->flags & TCP_SYN) {
		conn->seqhi[0]++;
		conn->wscale[0] = s->wscale;
		win = unscale(win, s->wscale & WSCALE_MASK);
	} else {
		conn->wscale[0] = conn->wscale[1] = WSCALE_UNKNOWN;
	}
	if (s->flags & TCP_FIN)
		conn->seqhi[0]++;
	conn->max_win[0] = win;
	conn->seqhi[1] = 1;
	conn->max_win[1] = 1;
	conn->state[0] = TCPS_SYN_SENT;
}

/* Seconds that an entry lives on after a good segment. */
static __always_inline __u32 tcp_timeout(__u8 a, __u8 b)
{
	if (a >= TCPS_FIN_WAIT_2 && b >= TCPS_FIN_WAIT_2)
		return 30; /* closed */
	if (a >= TCPS_CLOSING && b >= TCPS_CLOSING)
		return 45;
	if (a < TCPS_ESTABLISHED || b < TCPS_ESTABLISHED)
		return 30; /* opening */
	if (a >= TCPS_CLOSING || b >= TCPS_CLOSING)
		return 15 * 60; /* half closed */
	return 24 * 60 * 60;
}

/* What a segment says, with the corrections that the window test needs. */
struct tcp_view {
	__u32 seq;
	__u32 ack;
	__u32 end;
	__u32 win;
	__u8 scale_from; /* in force for the sender's windows */
	__u8 scale_to; /* and the receiver's */
	__u8 check_ack;
};

/* The first segment of the answering end: its window scale, its numbers. */
static __always_inline void tcp_first(struct conn *conn, struct ct_scratch *s,
				      __u32 from, struct tcp_view *v)
{
	__u32 to = !from;
	__u32 limit;

	if (s->flags & TCP_SYN && conn->wscale[to & 1] & WSCALE_SEEN) {
		conn->wscale[from & 1] = s->wscale;
		if (s->wscale & WSCALE_SEEN) {
			v->scale_from = s->wscale & WSCALE_MASK;
			v->win = unscale(v->win, v->scale_from);
			v->scale_to = conn->wscale[to & 1] & WSCALE_MASK;
		} else {
			/* No scaling then: neither for the opener. */
			conn->max_win[to & 1] <<= conn->wscale[to & 1] &
						  WSCALE_MASK;
			conn->wscale[to & 1] = 0;
		}
	}
	conn->seqlo[from & 1] = v->seq;
	conn->state[from & 1] = TCPS_SYN_SENT;
	limit = v->end +
		at_least_1((__u32)conn->max_win[to & 1] << v->scale_to);
	if (conn->seqhi[from & 1] == 1 ||
	    seq_after(limit, conn->seqhi[from & 1]) >= 0) {
		conn->seqhi[from & 1] = limit;
		v->check_ack = 0; /* nothing is known to compare it with */
	}
	if (v->win > conn->max_win[from & 1])
		conn->max_win[from & 1] = v->win;
}

/* Is the segment inside both windows? */
static __always_inline int tcp_in_window(const struct conn *conn,
					 const struct ct_scratch *s, __u32 from,
					 const struct tcp_view *v)
{
	__u32 lo = conn->seqlo[from & 1];
	__u32 window = (__u32)conn->max_win[~from & 1] << v->scale_to;
	__s32 skew = v->check_ack ? (__s32)(conn->seqlo[~from & 1] - v->ack) :
				    0;

	if (seq_after(conn->seqhi[from & 1], v->end) < 0 ||
	    seq_after(v->seq, lo - window) < 0)
		return 0;
	if (skew < -MAX_ACK_SKEW || skew > (MAX_ACK_SKEW << v->scale_from))
		return 0;
	/* A reset must hit the spot, give or take one. */
	return !(s->flags & TCP_RST) || s->seq + 1 - lo <= 2;
}

/* Near enough while one end is unknown, or once one end is done. */
static __always_inline int tcp_tolerated(const struct conn *conn, __u32 from,
					 const struct tcp_view *v)
{
	__u8 a = conn->state[from & 1], b = conn->state[~from & 1];

	if (b >= TCPS_SYN_SENT && b < TCPS_FIN_WAIT_2 && a < TCPS_FIN_WAIT_2)
		return 0;
	return seq_after(conn->seqhi[from & 1] + MAX_ACK_SKEW, v->end) >= 0 &&
	       seq_after(v->seq, conn->seqlo[from & 1] - MAX_ACK_SKEW) >= 0;
}

static __always_inline void tcp_slide(struct conn *conn, __u32 from,
				      const struct tcp_view *v)
{
	__u32 reach = v->win << v->scale_from;

	if (conn->max_win[from & 1] < v->win)
		conn->max_win[from & 1] = v->win;
	if (seq_after(v->end, conn->seqlo[from & 1]) > 0)
		conn->seqlo[from & 1] = v->end;
	if (seq_after(v->ack + reach, conn->seqhi[~from & 1]) >= 0)
		conn->seqhi[~from & 1] = v->ack + at_least_1(reach);
}

static __always_inline void tcp_view(const struct conn *conn,
				     const struct ct_scratch *s, __u32 from,
				     struct tcp_view *v)
{
	__u8 a = conn->wscale[from & 1], b = conn->wscale[~from & 1];

	v->seq = s->seq;
	v->ack = s->ack;
	v->end = s->seq + s->len + !!(s->flags & TCP_SYN) +
		 !!(s->flags & TCP_FIN);
	v->win = s->win;
	v->check_ack = 1;
	v->scale_from = v->scale_to = 0;
	if (s->flags & TCP_SYN)
		return; /* windows of a SYN are not scaled */
	if (a & b & WSCALE_SEEN) {
		v->scale_from = a & WSCALE_MASK;
		v->scale_to = b & WSCALE_MASK;
	} else if (a & b & WSCALE_UNKNOWN) {
		v->scale_from = v->scale_to = WSCALE_MAX;
	}
}

/*
 * Follow a segment from an end (0: originator) of a connection; *timeout is the
 * entry's new life in seconds, or stays.
 */
static __always_inline enum update
tcp_update(struct conn *conn, struct ct_scratch *s, __u32 from, __u32 *timeout)
{
	__u8 a = conn->state[from & 1], b = conn->state[~from & 1];
	__u32 flags = s->flags;
	struct tcp_view v;

	if (tcp_flags_invalid(flags))
		return UPDATE_INVALID;
	if ((flags & (TCP_SYN | TCP_ACK)) == TCP_SYN) {
		if (a >= TCPS_FIN_WAIT_2 && b >= TCPS_FIN_WAIT_2)
			return UPDATE_REOPENS;
		if (a <= TCPS_SYN_SENT) {
			conn->state[from & 1] = TCPS_SYN_SENT;
			*timeout = 30;
			return UPDATE_STILL_NEW;
		}
	}
	tcp_view(conn, s, from, &v);
	if (a < TCPS_SYN_SENT) {
		tcp_first(conn, s, from, &v);
		a = TCPS_SYN_SENT;
	}
	/* Some stacks acknowledge 0 in a reset. */
	if (!(flags & TCP_ACK) || (!v.ack && flags & TCP_RST))
		v.ack = conn->seqlo[~from & 1];
	if (v.seq == v.end) /* no data: the numbers do not matter */
		v.seq = v.end = conn->seqlo[from & 1];

	if (tcp_in_window(conn, s, from, &v)) {
		tcp_slide(conn, from, &v);
		if (flags & TCP_FIN && a < TCPS_CLOSING)
			a = TCPS_CLOSING;
		if (flags & TCP_ACK && b == TCPS_SYN_SENT)
			b = TCPS_ESTABLISHED;
		else if (flags & TCP_ACK && b == TCPS_CLOSING)
			b = TCPS_FIN_WAIT_2;
		if (flags & TCP_RST)
			a = b = TCPS_TIME_WAIT;
		*timeout = tcp_timeout(a, b);
	} else if (tcp_tolerated(conn, from, &v)) {
		tcp_slide(conn, from, &v);
		if (flags & TCP_FIN && a < TCPS_CLOSING)
			a = TCPS_CLOSING;
		if (flags & TCP_RST)
			a = b = TCPS_TIME_WAIT;
		/* Not longer for it: a flood comes here, too. */
	} else {
		return UPDATE_INVALID;
	}
	/* Written on change only: the other direction's CPU reads them. */
	if (conn->state[from & 1] != a)
		conn->state[from & 1] = a;
	if (conn->state[~from & 1] != b)
		conn->state[~from & 1] = b;
	return UPDATE_VALID;
}
