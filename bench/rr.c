// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * Requests and responses of one byte, and floods of small packets.
 *
 *   rr server PORT                 answers, one client after the other; takes
 *                                  UDP packets and throws them away
 *   rr client ADDRESS PORT MS      requests over one TCP connection
 *   rr connect ADDRESS PORT MS     each over a TCP connection of its own
 *   rr flood ADDRESS PORT MS       UDP packets of 60 bytes with their headers
 *
 * All but the server print: transactions (packets), nanoseconds that passed,
 * nanoseconds of CPU time used.
 *
 * iperf3 sends in one direction only; here each packet is waited for, so that
 * the time of one packet through stack and switch shows.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BATCH 64 /* packets a system call of a flood */
#define PAYLOAD 18 /* fills an Ethernet frame of minimal length */

static void fail(const char *what)
{
	fprintf(stderr, "rr: %s: %s\n", what, strerror(errno));
	exit(1);
}

static long long read_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static void set_flag(int fd, int level, int name)
{
	int on = 1;

	if (setsockopt(fd, level, name, &on, sizeof(on)))
		fail("setsockopt");
}

static int serve(int port)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_port = htons(port),
	};
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	int sink = socket(AF_INET, SOCK_DGRAM, 0); /* never read */
	char byte;

	if (listener < 0)
		fail("socket");
	set_flag(listener, SOL_SOCKET, SO_REUSEADDR);
	if (bind(listener, (struct sockaddr *)&address, sizeof(address)) ||
	    listen(listener, 1))
		fail("listen");
	if (sink < 0 ||
	    bind(sink, (struct sockaddr *)&address, sizeof(address)))
		fail("bind");
	for (;;) {
		int client = accept(listener, 0, 0);

		if (client < 0)
			fail("accept");
		set_flag(client, IPPROTO_TCP, TCP_NODELAY);
		while (read(client, &byte, 1) == 1 &&
		       write(client, &byte, 1) == 1)
			;
		close(client);
	}
}

static int dial(const struct sockaddr_in *address)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (fd < 0)
		fail("socket");
	if (connect(fd, (const struct sockaddr *)address, sizeof(*address)))
		fail("connect");
	set_flag(fd, IPPROTO_TCP, TCP_NODELAY);
	return fd;
}

static void exchange(int fd)
{
	char byte = 'x';

	if (write(fd, &byte, 1) != 1 || read(fd, &byte, 1) != 1)
		fail("exchange");
}

/* A transaction: one of the client's two. It keeps what it needs in *fd. */
static int ask(const struct sockaddr_in *address, int *fd)
{
	if (*fd < 0)
		*fd = dial(address);
	exchange(*fd);
	return 1;
}

static int ask_anew(const struct sockaddr_in *address, int *fd)
{
	/* A reset: the client's ports are not to wait for a minute each. */
	struct linger at_once = {.l_onoff = 1};

	*fd = dial(address);
	exchange(*fd);
	if (setsockopt(*fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)))
		fail("setsockopt");
	close(*fd);
	return 1;
}

static int flood(const struct sockaddr_in *address, int *fd)
{
	static char payload[PAYLOAD];
	static struct iovec data = {payload, PAYLOAD};
	static struct mmsghdr packets[BATCH];
	int sent;

	if (*fd < 0) {
		*fd = socket(AF_INET, SOCK_DGRAM, 0);
		if (*fd < 0 || connect(*fd, (const struct sockaddr *)address,
				       sizeof(*address)))
			fail("connect");
		for (int i = 0; i < BATCH; i++) {
			packets[i].msg_hdr.msg_iov = &data;
			packets[i].msg_hdr.msg_iovlen = 1;
		}
	}
	sent = sendmmsg(*fd, packets, BATCH, 0);
	if (sent < 0)
		fail("sendmmsg");
	return sent;
}

static int repeat(int (*work)(const struct sockaddr_in *, int *),
		  const char *host, int port, long long ms)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_port = htons(port),
	};
	long long start, end, cpu_start, transactions = 0;
	int fd = -1;

	if (inet_pton(AF_INET, host, &address.sin_addr) != 1) {
		fprintf(stderr, "rr: %s is no IPv4 address\n", host);
		return 1;
	}
	work(&address, &fd); /* what is done once does not count */
	cpu_start = read_ns(CLOCK_PROCESS_CPUTIME_ID);
	start = read_ns(CLOCK_MONOTONIC);
	end = start + ms * 1000000;
	do
		transactions += work(&address, &fd);
	while (read_ns(CLOCK_MONOTONIC) < end);
	printf("%lld %lld %lld\n", transactions,
	       read_ns(CLOCK_MONOTONIC) - start,
	       read_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu_start);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "server"))
		return serve(atoi(argv[2]));
	if (argc == 5 && !strcmp(argv[1], "client"))
		return repeat(ask, argv[2], atoi(argv[3]), atoll(argv[4]));
	if (argc == 5 && !strcmp(argv[1], "connect"))
		return repeat(ask_anew, argv[2], atoi(argv[3]), atoll(argv[4]));
	if (argc == 5 && !strcmp(argv[1], "flood"))
		return repeat(flood, argv[2], atoi(argv[3]), atoll(argv[4]));
	fprintf(stderr, "usage: rr server PORT | rr client|connect|flood "
			"ADDRESS PORT MS\n");
	return 2;
}
