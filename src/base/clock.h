/* SPDX-License-Identifier: MIT */
/*
 * Time. Deadlines go by CLOCK_BOOTTIME, which goes on while a laptop sleeps, so
 * that a connection that died meanwhile is noticed; stored times are real time.
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

#define CLOCK_MS  1000000LL
#define CLOCK_SEC 1000000000LL

/* Nanoseconds of CLOCK_BOOTTIME. */
int64_t clock_boot_ns(void);
/* Nanoseconds since 1970 (CLOCK_REALTIME). */
int64_t clock_real_ns(void);
/* Nanoseconds that the machine has slept since it started: what CLOCK_BOOTTIME has and
 * CLOCK_MONOTONIC has not. Two readings of it differ by the sleep between them, and by some
 * microseconds. */
int64_t clock_slept_ns(void);
/* Milliseconds from now to deadline (boottime ns), rounded up, for poll(2): 0 when past. */
int clock_poll_ms(int64_t deadline_ns);

#endif
