/* SPDX-License-Identifier: MIT */
/*
 * Names to addresses, with a deadline. getaddrinfo(3) can't be interrupted, so a
 * helper thread asks; a caller that gives up leaves it behind, and it cleans up
 * after itself when the answer comes.
 */
#ifndef NET_RESOLVE_H
#define NET_RESOLVE_H

#include <netdb.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/fault.h"

/* Waits until something happens on one of the descriptors (events as in poll(2); cancel fds may
 * be -1) or the deadline (boottime ns) passes. False: FAULT_CANCELLED or FAULT_TIMEOUT. */
bool net_wait(int fd, short events, const int cancel_fds[2], int64_t deadline_ns,
              struct fault *fault);

/* The addresses of host (a name or an IP literal), to be freed with freeaddrinfo(). False:
 * FAULT_UNREACHABLE (no such host), FAULT_TIMEOUT, FAULT_CANCELLED. */
bool net_resolve(const char *host, uint16_t port, const int cancel_fds[2], int64_t deadline_ns,
                 struct addrinfo **addresses_r, struct fault *fault);

#endif
