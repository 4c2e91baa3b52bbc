// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * Requests and responses of one byte over one TCP connection.
 *
 *   rr server PORT                 answers, one client after the other
 *   rr client ADDRESS PORT MS      prints: transactions, nanoseconds
 *                                  that passed, nanoseconds of CPU time used
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
	char byte;

	if (listener < 0)
		fail("socket");
	set_flag(listener, SOL_SOCKET, SO_REUSEADDR);
	if (bind(listener, (struct sockaddr *)&address, sizeof(address)) ||
	    listen(listener, 1))
		fail("listen");
	puts("ready");
	fflush(stdout);
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

static int ask(const char *host, int port, long long ms)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_port = htons(port),
	};
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	long long start, end, cpu_start, transactions = 0;
	char byte = 'x';

	if (fd < 0)
		fail("socket");
	if (inet_pton(AF_INET, host, &address.sin_addr) != 1) {
		fprintf(stderr, "rr: %s is no IPv4 address\n", host);
		return 1;
	}
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)))
		fail("connect");
	set_flag(fd, IPPROTO_TCP, TCP_NODELAY);
	cpu_start = read_ns(CLOCK_PROCESS_CPUTIME_ID);
	start = read_ns(CLOCK_MONOTONIC);
	end = start + ms * 1000000;
	do {
		if (write(fd, &byte, 1) != 1 || read(fd, &byte, 1) != 1)
			fail("exchange");
		transactions++;
	} while (read_ns(CLOCK_MONOTONIC) < end);
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
		return ask(argv[2], atoi(argv[3]), atoll(argv[4]));
	fprintf(stderr, "usage: rr server PORT | rr client ADDRESS PORT MS\n");
	return 2;
}
