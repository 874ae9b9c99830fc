/*
 * Asks a proxy at a fixed rate, and prints for each answer when its request was due and how long it took from then, in
 * microseconds. A request that is due while all connections are busy waits, and its wait counts.
 *
 *     paced PORT RATE SECONDS CONNECTIONS
 *
 * In C, since it shares its core with the server behind the proxy: a load in Python takes a third of that core itself,
 * and then its own work is most of what it measures.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static const char REQUEST[] = "GET /tiny HTTP/1.1\r\nHost: server.test\r\n\r\n";
static const char BODY[] = "\r\n\r\nok\n";

static double now(void)
{
	struct timespec read;
	clock_gettime(CLOCK_MONOTONIC, &read);
	return read.tv_sec + read.tv_nsec * 1e-9;
}

static void fail(const char *what, const char *more)
{
	fprintf(stderr, "%s: %s\n", what, more);
	exit(1);
}

static int connected(int port)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
	int client = socket(AF_INET, SOCK_STREAM, 0), on = 1;

	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (client < 0 || connect(client, (struct sockaddr *)&to, sizeof to))
		fail("connect", strerror(errno));
	setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	return client;
}

static void ask(int client)
{
	if (send(client, REQUEST, sizeof REQUEST - 1, MSG_NOSIGNAL) != sizeof REQUEST - 1)
		fail("send", strerror(errno));
}

/* Takes an answer, which comes in one piece. */
static void take(int client)
{
	char answer[65536];
	ssize_t size = recv(client, answer, sizeof answer - 1, 0);

	if (size <= 0)
		fail("recv", size ? strerror(errno) : "the proxy has closed the connection");
	answer[size] = 0;
	if (strncmp(answer, "HTTP/1.1 200", 12) || size < (ssize_t)sizeof BODY || strcmp(answer + size - sizeof BODY + 1, BODY))
		fail("not a whole answer", answer);
}

int main(int words, char **word)
{
	if (words != 5)
		fail("usage", "paced PORT RATE SECONDS CONNECTIONS");
	int port = atoi(word[1]), connections = atoi(word[4]);
	double rate = atof(word[2]), seconds = atof(word[3]);
	long count = rate * seconds, sent = 0, answered = 0;
	if (connections < 1 || connections > 1000 || count < 1)
		fail("usage", "1 to 1000 connections, and a request at least");
	int *free_ones = calloc(connections, sizeof *free_ones), idle = 0, poller = epoll_create1(0);
	double *due = calloc(connections, sizeof *due), *took = calloc(count, sizeof *took), *at_due = calloc(count, sizeof *took);
	int *clients = calloc(connections, sizeof *clients);
	struct epoll_event ready[64];
	struct pollfd any = {.fd = poller, .events = POLLIN};

	prctl(PR_SET_TIMERSLACK, 1UL);
	for (; idle < connections; idle++) {
		struct epoll_event event = {.events = EPOLLIN, .data.u32 = idle};
		clients[idle] = connected(port);
		ask(clients[idle]);
		take(clients[idle]);
		if (epoll_ctl(poller, EPOLL_CTL_ADD, clients[idle], &event))
			fail("epoll_ctl", strerror(errno));
		free_ones[idle] = idle;
	}
	double begin = now();
	while (answered < count) {
		double at = now(), next = begin + sent / rate;
		while (sent < count && idle && next <= at) {
			int one = free_ones[--idle];
			due[one] = next;
			ask(clients[one]);
			next = begin + ++sent / rate;
		}
		if (at - begin > 3 * seconds + 5)
			fail("too slow", "requests without an answer in three times the time");
		double left = sent < count && idle ? next - now() : 1.0;
		if (left > 0) {
			struct timespec wait = {.tv_sec = (time_t)left, .tv_nsec = (left - (time_t)left) * 1e9};
			ppoll(&any, 1, &wait, NULL);
		}
		int found = epoll_wait(poller, ready, 64, 0);
		for (int each = 0; each < found; each++) {
			int one = ready[each].data.u32;
			take(clients[one]);
			at_due[answered] = due[one] - begin;
			took[answered++] = now() - due[one];
			free_ones[idle++] = one;
		}
	}
	for (long each = 0; each < count; each++)
		printf("%.0f %.1f\n", at_due[each] * 1e6, took[each] * 1e6);
	return 0;
}
