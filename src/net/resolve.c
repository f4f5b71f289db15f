/* SPDX-License-Identifier: MIT */
/* Names to addresses: see resolve.h. */
#include "config.h"

#include "net/resolve.h"

#include <errno.h>
#include <glib.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"

/* What a caller and its helper thread share; freed by the last of the two. */
struct lookup {
	atomic_int refs;
	int done_fd;
	atomic_bool done; /* result and addresses are there */
	char *host;
	char port[8];
	int result;
	struct addrinfo *addresses;
};

bool
net_wait(int fd, short events, const int cancel_fds[2], int64_t deadline_ns, struct fault *fault)
{
	struct pollfd fds[3] = { { .fd = fd, .events = events },
		                 { .fd = cancel_fds[0], .events = POLLIN },
		                 { .fd = cancel_fds[1], .events = POLLIN } };
	for (;;) {
		int ready = poll(fds, 3, clock_poll_ms(deadline_ns));
		if (ready < 0 && errno == EINTR)
			continue;
		if (ready < 0)
			return fault_set(fault, FAULT_UNREACHABLE, "poll: %s", g_strerror(errno));
		if (fds[1].revents != 0 || fds[2].revents != 0)
			return fault_set(fault, FAULT_CANCELLED, "the connection was given up");
		if (ready > 0)
			return true;
		/* poll(2) goes by a clock that stops while the machine sleeps. */
		if (clock_boot_ns() >= deadline_ns)
			return fault_set(fault, FAULT_TIMEOUT, "no answer in time");
	}
}

static void
lookup_unref(struct lookup *lookup)
{
	if (atomic_fetch_sub(&lookup->refs, 1) != 1)
		return;
	if (lookup->addresses != NULL)
		freeaddrinfo(lookup->addresses);
	if (lookup->done_fd >= 0)
		close(lookup->done_fd);
	g_free(lookup->host);
	g_free(lookup);
}

static int
ask(struct lookup *lookup, int flags)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = flags | AI_NUMERICSERV };
	return getaddrinfo(lookup->host, lookup->port, &hints, &lookup->addresses);
}

static void *
lookup_thread(void *data)
{
	struct lookup *lookup = data;
	lookup->result = ask(lookup, AI_ADDRCONFIG);
	/* A machine that has nothing but loopback has no address by that flag's measure. */
	if (lookup->result == EAI_NONAME || lookup->result == EAI_ADDRFAMILY)
		lookup->result = ask(lookup, 0);
	atomic_store(&lookup->done, true);
	eventfd_write(lookup->done_fd, 1);
	lookup_unref(lookup);
	return NULL;
}

static bool
lookup_finish(struct lookup *lookup, struct addrinfo **addresses_r, struct fault *fault)
{
	if (lookup->result == EAI_AGAIN)
		return fault_set(fault, FAULT_UNREACHABLE,
				 "host %s can't be looked up now: %s "
				 "(is the network up?)",
				 lookup->host, gai_strerror(lookup->result));
	if (lookup->result != 0)
		return fault_set(fault, FAULT_UNREACHABLE, "host %s is unknown: %s", lookup->host,
		                 gai_strerror(lookup->result));
	*addresses_r = lookup->addresses;
	lookup->addresses = NULL;
	return true;
}

bool
net_resolve(const char *host, uint16_t port, const int cancel_fds[2], int64_t deadline_ns,
            struct addrinfo **addresses_r, struct fault *fault)
{
	struct lookup *lookup = g_new0(struct lookup, 1);
	atomic_init(&lookup->refs, 1);
	atomic_init(&lookup->done, false);
	lookup->done_fd = eventfd(0, EFD_CLOEXEC);
	lookup->host = g_strdup(host);
	snprintf(lookup->port, sizeof lookup->port, "%u", (unsigned)port);
	bool ok = lookup->done_fd >= 0;
	if (!ok) {
		fault_set(fault, FAULT_UNREACHABLE, "eventfd: %s", g_strerror(errno));
	} else if (ask(lookup, AI_NUMERICHOST) == 0) {
		ok = lookup_finish(lookup, addresses_r, fault);
	} else {
		atomic_fetch_add(&lookup->refs, 1);
		g_thread_unref(g_thread_new("imapfs-dns", lookup_thread, lookup));
		ok = net_wait(lookup->done_fd, POLLIN, cancel_fds, deadline_ns, fault);
		if (ok && atomic_load(&lookup->done))
			ok = lookup_finish(lookup, addresses_r, fault);
		else
			fault_prefix(fault, "looking up host %s", host);
	}
	lookup_unref(lookup);
	return ok;
}
