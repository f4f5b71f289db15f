/* SPDX-License-Identifier: MIT */
/* The pool's policy: see pool.h. */
#include "config.h"

#include "session/pool.h"

#include <glib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"

#define PAUSE_FIRST_S 1
#define PAUSE_MAX_S   60
#define AUTH_FIRST_S  30
#define AUTH_MAX_S    900
#define HINT_MAX_MS   600000u
#define HURRIED_NS    (1 * CLOCK_SEC) /* who is in a hurry waits no longer after a failure */
#define SHORT_LIFE_NS (10 * CLOCK_SEC)
#define SPARE_NS      (1 * CLOCK_SEC) /* the one that there must be room for may be up by then */
#define ASK_AGAIN_NS  (CLOCK_SEC / 5) /* while another attempt is on its way */

struct pool {
	GMutex lock;
	int cancel_fd;
	bool cancelled;
	unsigned wanted;         /* as configured */
	unsigned limit;          /* now; grows back at limit_until_ns */
	int64_t limit_until_ns;
	unsigned up;
	bool connecting;
	unsigned failures;       /* in a row */
	unsigned auth_failures;  /* in a row */
	unsigned short_lives;    /* connections in a row that were lost at once */
	int64_t connected_ns;    /* when the last one came up */
	int64_t failed_ns;
	int64_t patient_ns;      /* not before, unless somebody waits for it */
	int64_t strict_ns;       /* not before, whoever waits */
	uint64_t banned;         /* 1 << enum imap_cap */
	int64_t doubted_ns[IMAP_CAP_COUNT]; /* when it first was of no use, 0: never */
};

struct pool *
pool_new(unsigned limit)
{
	struct pool *pool = g_new0(struct pool, 1);
	g_mutex_init(&pool->lock);
	pool->cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	pool->wanted = pool->limit = MAX(limit, 1);
	return pool;
}

void
pool_free(struct pool **pool)
{
	if (*pool == NULL)
		return;
	if ((*pool)->cancel_fd >= 0)
		close((*pool)->cancel_fd);
	g_mutex_clear(&(*pool)->lock);
	g_free(*pool);
	*pool = NULL;
}

/* first, twice that, ... up to most, in ns, give or take a quarter. */
static int64_t
pause_ns(unsigned failures, int64_t first_s, int64_t most_s)
{
	int64_t pause_s = first_s;
	for (unsigned i = 1; i < failures && pause_s < most_s; i++)
		pause_s *= 2;
	return (int64_t)((double)(MIN(pause_s, most_s) * CLOCK_SEC) *
			 g_random_double_range(0.75, 1.25));
}

static void
limit_refresh(struct pool *pool, int64_t now)
{
	if (pool->limit < pool->wanted && now >= pool->limit_until_ns)
		pool->limit = pool->wanted;
}

bool
pool_may_connect(struct pool *pool, int64_t now, enum pool_want want, int64_t *until_r)
{
	g_mutex_lock(&pool->lock);
	limit_refresh(pool, now);
	int64_t after = pool->patient_ns;
	if (want == POOL_HURRY)
		after = MIN(after, pool->failed_ns + HURRIED_NS);
	after = MAX(after, pool->strict_ns);
	bool may = false;
	if (pool->cancelled)
		*until_r = INT64_MAX;
	else if (pool->connecting)
		*until_r = now + ASK_AGAIN_NS;
	else if (pool->up >= pool->limit)
		*until_r = pool->limit < pool->wanted ? pool->limit_until_ns : INT64_MAX;
	else if (want == POOL_SPARE && pool->up + 1 >= pool->limit)
		*until_r = now + SPARE_NS;
	else if (now < after)
		*until_r = after;
	else
		may = pool->connecting = true;
	g_mutex_unlock(&pool->lock);
	return may;
}

void
pool_connected(struct pool *pool, int64_t now)
{
	g_mutex_lock(&pool->lock);
	pool->connecting = false;
	pool->up++;
	pool->failures = pool->auth_failures = 0;
	pool->connected_ns = now;
	pool->patient_ns = pool->strict_ns = 0;
	g_mutex_unlock(&pool->lock);
}

/* "Suggested Backoff Time: 12345 milliseconds", in any case; 0 for none. */
static uint64_t
hint_ms(const char *text)
{
	static const char words[] = "suggested backoff time:";
	char *lower = g_ascii_strdown(text, -1);
	const char *at = strstr(lower, words);
	uint64_t ms = at != NULL ? g_ascii_strtoull(at + sizeof words - 1, NULL, 10) : 0;
	g_free(lower);
	return MIN(ms, HINT_MAX_MS);
}

/* Lock held. */
static void
take_hint(struct pool *pool, int64_t now, const char *text)
{
	uint64_t ms = hint_ms(text);
	if (ms > 0)
		pool->strict_ns = MAX(pool->strict_ns, now + (int64_t)ms * CLOCK_MS);
}

void
pool_hint(struct pool *pool, int64_t now, const char *text)
{
	g_mutex_lock(&pool->lock);
	take_hint(pool, now, text);
	g_mutex_unlock(&pool->lock);
}

void
pool_failed(struct pool *pool, int64_t now, const struct fault *fault)
{
	g_mutex_lock(&pool->lock);
	pool->connecting = false;
	if (fault->kind == FAULT_CANCELLED) {
		g_mutex_unlock(&pool->lock);
		return;
	}
	pool->failed_ns = now;
	if (fault->kind == FAULT_AUTH) {
		pool->auth_failures++;
		pool->strict_ns = MAX(pool->strict_ns, now + pause_ns(pool->auth_failures,
								      AUTH_FIRST_S, AUTH_MAX_S));
	} else {
		pool->failures++;
		pool->patient_ns = now + pause_ns(pool->failures, PAUSE_FIRST_S, PAUSE_MAX_S);
	}
	/* Where others are up the host can be reached, so it is the one more that it won't have. */
	if (pool->up > 0 && (fault->kind == FAULT_BUSY || fault->kind == FAULT_UNREACHABLE)) {
		pool->limit = MIN(pool->limit, pool->up);
		pool->limit_until_ns = now + POOL_LIMIT_MEMORY_S * CLOCK_SEC;
	}
	take_hint(pool, now, fault->text);
	g_mutex_unlock(&pool->lock);
}

/* Lock held. */
static void
one_less(struct pool *pool, int64_t now)
{
	g_assert(pool->up > 0);
	pool->up--;
	if (now - pool->connected_ns >= SHORT_LIFE_NS) {
		pool->short_lives = 0;
	} else if (pool->short_lives++ > 0) {
		/* The first may be bad luck, and somebody may be reading. */
		pool->failed_ns = now;
		pool->patient_ns =
			now + pause_ns(pool->short_lives - 1, PAUSE_FIRST_S, PAUSE_MAX_S);
	}
}

void
pool_lost(struct pool *pool, int64_t now)
{
	g_mutex_lock(&pool->lock);
	one_less(pool, now);
	/* What was refused beside it was perhaps refused for what broke it. */
	pool->limit = pool->wanted;
	g_mutex_unlock(&pool->lock);
}

void
pool_closed(struct pool *pool, int64_t now)
{
	g_mutex_lock(&pool->lock);
	one_less(pool, now);
	g_mutex_unlock(&pool->lock);
}

void
pool_hurry(struct pool *pool)
{
	g_mutex_lock(&pool->lock);
	pool->failures = pool->short_lives = 0;
	pool->patient_ns = 0;
	g_mutex_unlock(&pool->lock);
}

unsigned
pool_up(struct pool *pool)
{
	g_mutex_lock(&pool->lock);
	unsigned up = pool->up;
	g_mutex_unlock(&pool->lock);
	return up;
}

bool
pool_is_full(struct pool *pool)
{
	g_mutex_lock(&pool->lock);
	bool full = pool->up >= pool->limit;
	g_mutex_unlock(&pool->lock);
	return full;
}

unsigned
pool_limit(struct pool *pool)
{
	g_mutex_lock(&pool->lock);
	unsigned limit = pool->limit;
	g_mutex_unlock(&pool->lock);
	return limit;
}

void
pool_ban(struct pool *pool, enum imap_cap cap)
{
	g_mutex_lock(&pool->lock);
	pool->banned |= UINT64_C(1) << cap;
	g_mutex_unlock(&pool->lock);
}

bool
pool_banned(struct pool *pool, enum imap_cap cap)
{
	g_mutex_lock(&pool->lock);
	bool banned = (pool->banned >> cap & 1) != 0;
	g_mutex_unlock(&pool->lock);
	return banned;
}

bool
pool_doubt(struct pool *pool, enum imap_cap cap, int64_t now, int64_t opened_ns)
{
	g_mutex_lock(&pool->lock);
	if (pool->doubted_ns[cap] == 0)
		pool->doubted_ns[cap] = now;
	else if (opened_ns > pool->doubted_ns[cap])
		pool->banned |= UINT64_C(1) << cap;
	bool banned = (pool->banned >> cap & 1) != 0;
	g_mutex_unlock(&pool->lock);
	return banned;
}

void
pool_trust(struct pool *pool, enum imap_cap cap)
{
	g_mutex_lock(&pool->lock);
	pool->doubted_ns[cap] = 0;
	g_mutex_unlock(&pool->lock);
}

void
pool_cancel(struct pool *pool)
{
	g_mutex_lock(&pool->lock);
	pool->cancelled = true;
	if (pool->cancel_fd >= 0)
		eventfd_write(pool->cancel_fd, 1);
	g_mutex_unlock(&pool->lock);
}

int
pool_cancel_fd(struct pool *pool)
{
	return pool->cancel_fd;
}
