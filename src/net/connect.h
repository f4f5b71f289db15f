/* SPDX-License-Identifier: MIT */
/* Making a TCP connection, and asking about one. For stream.c. */
#ifndef NET_CONNECT_H
#define NET_CONNECT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/fault.h"

/* A non-blocking, connected socket, with TCP_NODELAY, keepalive and TCP_USER_TIMEOUT; see
 * stream_connect(). -1 with a fault. */
int net_connect(const char *host, uint16_t port, unsigned timeout_s, int cancel_fd,
                struct fault *fault);

/* Whether the other end is on this machine. */
bool net_is_loopback(int fd);

#endif
