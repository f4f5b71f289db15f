/* SPDX-License-Identifier: MIT */
/* TCP connections: see connect.h. */
#include "config.h"

#include "net/connect.h"

#include <arpa/inet.h>
#include <errno.h>
#include <glib.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "net/resolve.h"

/* A line that died in silence is noticed even where nothing is owed: 60 s + 4 * 15 s. */
#define KEEPALIVE_IDLE_S     60
#define KEEPALIVE_INTERVAL_S 15
#define KEEPALIVE_COUNT      4

static void
set_option(int fd, int level, int name, int value)
{
	/* What the system doesn't know, it does without. */
	(void)setsockopt(fd, level, name, &value, sizeof value);
}

static void
set_options(int fd, unsigned timeout_s)
{
	set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
	set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_S);
	set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S);
	set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_COUNT);
	set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, (int)MIN(timeout_s, 86400u) * 1000);
}

static bool
connect_one(int fd, const struct addrinfo *address, const int cancel_fds[2], int64_t deadline_ns,
            struct fault *fault)
{
	if (connect(fd, address->ai_addr, address->ai_addrlen) == 0)
		return true;
	if (errno != EINPROGRESS && errno != EINTR)
		return fault_set(fault, FAULT_UNREACHABLE, "%s", g_strerror(errno));
	if (!net_wait(fd, POLLOUT, cancel_fds, deadline_ns, fault))
		return false;
	int error = 0;
	socklen_t size = sizeof error;
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0)
		error = errno;
	if (error == 0)
		return true;
	return fault_set(fault, error == ETIMEDOUT ? FAULT_TIMEOUT : FAULT_UNREACHABLE, "%s",
	                 g_strerror(error));
}

/* One after the other; each has an equal share of the time that is left. */
static int
connect_any(const struct addrinfo *addresses, unsigned timeout_s, const int cancel_fds[2],
            int64_t deadline_ns, struct fault *fault)
{
	unsigned left = 0;
	for (const struct addrinfo *each = addresses; each != NULL; each = each->ai_next)
		left++;
	for (const struct addrinfo *each = addresses; each != NULL; each = each->ai_next, left--) {
		int64_t now = clock_boot_ns();
		int64_t until = now + MAX(deadline_ns - now, CLOCK_MS) / left;
		int fd = socket(each->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		if (fd < 0) {
			fault_set(fault, FAULT_UNREACHABLE, "%s", g_strerror(errno));
			continue;
		}
		struct fault why;
		if (connect_one(fd, each, cancel_fds, until, &why)) {
			set_options(fd, timeout_s);
			return fd;
		}
		close(fd);
		fault_set(fault, why.kind, "%s", why.text);
		if (why.kind == FAULT_CANCELLED)
			break;
	}
	return -1;
}

int
net_connect(const char *host, uint16_t port, unsigned timeout_s, int cancel_fd, struct fault *fault)
{
	const int cancel_fds[2] = { cancel_fd, -1 };
	int64_t deadline = clock_boot_ns() + (int64_t)timeout_s * CLOCK_SEC;
	char *ascii = g_hostname_to_ascii(host);
	struct addrinfo *addresses;
	int fd = -1;
	if (net_resolve(ascii != NULL ? ascii : host, port, cancel_fds, deadline, &addresses,
			fault)) {
		fault_set(fault, FAULT_UNREACHABLE, "no address");
		fd = connect_any(addresses, timeout_s, cancel_fds, deadline, fault);
		if (fd < 0)
			fault_prefix(fault, "connecting to %s port %u", host, (unsigned)port);
		else
			fault_clear(fault);
		freeaddrinfo(addresses);
	}
	g_free(ascii);
	return fd;
}

bool
net_is_loopback(int fd)
{
	union {
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
		struct sockaddr_storage storage;
	} peer;
	socklen_t size = sizeof peer;
	if (getpeername(fd, &peer.any, &size) != 0)
		return false;
	switch (peer.any.sa_family) {
	case AF_UNIX:
		return true;
	case AF_INET:
		return ntohl(peer.v4.sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
	case AF_INET6:
		return IN6_IS_ADDR_LOOPBACK(&peer.v6.sin6_addr) ||
		       (IN6_IS_ADDR_V4MAPPED(&peer.v6.sin6_addr) &&
		        peer.v6.sin6_addr.s6_addr[12] == IN_LOOPBACKNET);
	default:
		return false;
	}
}
