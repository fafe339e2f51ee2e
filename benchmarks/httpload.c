/* httpload SOCKET CONNECTIONS REQUESTS: asks an HTTP server on a Unix socket, or on ADDRESS:PORT, for / again and again, over
 * CONNECTIONS kept-alive connections at once, until REQUESTS answers came; checks that each is a 200 of
 * the same length. Exit code 0, or 1 with a message. */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static const char request[] = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
static char answer[65536];

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static int dial_tcp(const char *name)
{
	struct sockaddr_in address = {.sin_family = AF_INET};
	char host[16] = "";
	int port = 0, one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
	if (sscanf(name, "%15[0-9.]:%d", host, &port) != 2 || inet_pton(AF_INET, host, &address.sin_addr) != 1)
		fail(name);
	address.sin_port = htons(port);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) ||
	    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one))
		fail(name);
	return fd;
}

static int dial(const char *path)
{
	if (path[0] != '/')
		return dial_tcp(path);
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	strncpy(address.sun_path, path, sizeof address.sun_path - 1);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address))
		fail(path);
	return fd;
}

static void ask(int fd)
{
	if (write(fd, request, sizeof request - 1) != (ssize_t)sizeof request - 1)
		fail("write");
}

/* Reads one answer; its header names the body's length. */
static void take(int fd)
{
	long have = 0, whole = 0;
	do {
		ssize_t n = read(fd, answer + have, sizeof answer - 1 - have);
		if (n <= 0)
			fail("read");
		have += n;
		answer[have] = 0;
		char *end = strstr(answer, "\r\n\r\n");
		if (end && !whole) {
			char *length = strstr(answer, "Content-Length: ");
			if (strncmp(answer, "HTTP/1.1 200", 12) || !length || length > end) {
				fprintf(stderr, "unexpected answer: %.200s\n", answer);
				exit(1);
			}
			whole = end + 4 - answer + atol(length + 16);
		}
	} while (!whole || have < whole);
}

int main(int argc, char **argv)
{
	if (argc != 4)
		return 1;
	int count = atoi(argv[2]);
	long asked = 0, taken = 0, wanted = atol(argv[3]);
	struct pollfd *all = calloc(count, sizeof *all);
	for (int i = 0; i < count; i++) {
		all[i] = (struct pollfd){dial(argv[1]), POLLIN, 0};
		ask(all[i].fd);
		asked++;
	}
	while (taken < wanted) {
		if (poll(all, count, 10000) <= 0)
			fail("poll");
		for (int i = 0; i < count; i++)
			if (all[i].revents) {
				take(all[i].fd);
				taken++;
				if (asked < wanted) {
					ask(all[i].fd);
					asked++;
				}
			}
	}
	return 0;
}
