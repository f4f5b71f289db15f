/* SPDX-License-Identifier: MIT */
/* Time: see clock.h. */
#include "config.h"

#include "base/clock.h"

#include <limits.h>
#include <time.h>

static int64_t
read_clock(clockid_t id)
{
	struct timespec ts;
	clock_gettime(id, &ts);
	return (int64_t)ts.tv_sec * CLOCK_SEC + ts.tv_nsec;
}

int64_t
clock_boot_ns(void)
{
	return read_clock(CLOCK_BOOTTIME);
}

int64_t
clock_real_ns(void)
{
	return read_clock(CLOCK_REALTIME);
}

int64_t
clock_slept_ns(void)
{
	return read_clock(CLOCK_BOOTTIME) - read_clock(CLOCK_MONOTONIC);
}

int
clock_poll_ms(int64_t deadline_ns)
{
	int64_t left = deadline_ns - clock_boot_ns();
	if (left <= 0)
		return 0;
	int64_t ms = (left + CLOCK_MS - 1) / CLOCK_MS;
	return ms > INT_MAX ? INT_MAX : (int)ms;
}
