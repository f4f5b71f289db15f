/* SPDX-License-Identifier: MIT */
/*
 * Watchers' threads: each connects, stands on what push.c tells it to, and passes
 * on what it hears. A failure of a watcher is its own: it pauses longer and
 * longer, and everything goes on without it.
 */
#include "config.h"

#include "mail/watcher.h"

#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "imap/names.h"

/* Servers and what stands between may end what is silent for longer; at most 29 minutes (RFC
 * 2177). */
#define ROUND_NS (9 * 60 * CLOCK_SEC)
#define ROUND_MIN_NS (60 * CLOCK_SEC)
/* After so many rounds that nobody ended, longer ones are tried again. */
#define ROUNDS_GOOD 8u
/* A connection that lived for so long was a good one. */
#define GOOD_LIFE_NS (60 * CLOCK_SEC)
#define PAUSE_MAX_S 600
/* Where a worker could log in and a watcher could not, it is one too many, or a mistake. */
#define LOGIN_PAUSE_NS (3600 * CLOCK_SEC)
#define REFUSALS_MAX 3u
#define SLEEP_NS (5 * CLOCK_SEC)
/* A doubtful line must answer within this, or a third of the timeout. */
#define PROBE_MAX_S 10u

/* --- what is heard --------------------------------------------------------------------- */

/* Whether the server's numbers are the index's. Flags are covered by the mod-sequence alone. */
static bool
same_numbers(const struct mailbox_record *record, const struct imap_mailbox_status *status)
{
	return record->listed && record->space != 0 && status->has_highestmodseq &&
	       status->highestmodseq != 0 && status->highestmodseq == record->highestmodseq &&
	       (!status->has_messages || status->messages == record->exists) &&
	       (!status->has_uidnext || status->uidnext == record->uidnext) &&
	       (!status->has_uidvalidity || status->uidvalidity == record->uidvalidity);
}

static void
hear_status(struct watcher *watcher, const struct imap_mailbox_status *status)
{
	struct account *account = watcher->account;
	struct mailbox_record record;
	uint32_t id = 0;
	struct cache_view *view = cache_view_begin(account->cache);
	bool known = cache_mailbox_by_raw(view, status->name, status->name_len, &id) ||
	             (imap_name_is_inbox(status->name, status->name_len) &&
	              cache_mailbox_by_raw(view, "INBOX", strlen("INBOX"), &id));
	known = known && cache_mailbox_get(view, id, &record);
	bool same = known && same_numbers(&record, status);
	cache_view_end(view);
	g_mutex_lock(&account->lock);
	struct mbox *mbox = work_mbox(account, known ? id : ROOT_MAILBOX);
	/* Where there are no mod-sequences changes of flags are not told. */
	if (known && status->has_highestmodseq && status->highestmodseq != 0)
		push_cover(watcher, mbox, watcher->asked_ns);
	if (same && watcher->answering)
		push_fresh(mbox, watcher->asked_ns);
	else if (same)
		mbox->heard_ns = clock_boot_ns(); /* of what a worker has seen already */
	else
		push_heard(watcher, mbox);
	g_mutex_unlock(&account->lock);
}

static void
hear_mailbox(struct watcher *watcher, uint32_t id)
{
	struct account *account = watcher->account;
	g_mutex_lock(&account->lock);
	push_heard(watcher, work_mbox(account, id));
	g_mutex_unlock(&account->lock);
}

/* NOTIFY: of all mailboxes. */
static void
hear_all(void *ctx, const struct imap_response *response)
{
	struct watcher *watcher = ctx;
	struct imap_mailbox_status status;
	if (imap_response_type(response) == IMAP_TYPE_LIST)
		hear_mailbox(watcher, ROOT_MAILBOX);
	else if (imap_status_decode(response, &status))
		hear_status(watcher, &status);
}

/* IDLE: of the one it stands on. */
static void
hear_one(void *ctx, const struct imap_response *response)
{
	struct watcher *watcher = ctx;
	enum imap_code code;
	switch (imap_response_type(response)) {
	case IMAP_TYPE_EXISTS:
	case IMAP_TYPE_EXPUNGE:
	case IMAP_TYPE_VANISHED:
	case IMAP_TYPE_FETCH:
		hear_mailbox(watcher, watcher->standing);
		break;
	case IMAP_TYPE_STATE:
		code = imap_response_code(response);
		if (code == IMAP_CODE_UIDVALIDITY || code == IMAP_CODE_NOMODSEQ)
			hear_mailbox(watcher, watcher->standing);
		break;
	default:
		break;
	}
}

/* --- listening ------------------------------------------------------------------------- */

enum turn {
	TURN_STAY,
	TURN_PROBE, /* is the line alive? */
	TURN_AGAIN, /* it is time to begin anew */
	TURN_ENDED, /* the server will tell no more */
	TURN_LEAVE, /* the watcher is wanted elsewhere, or the line is lost */
};

static enum turn
woken(struct watcher *watcher)
{
	struct account *account = watcher->account;
	g_mutex_lock(&account->lock);
	bool leave = account->stopping || watcher->target != watcher->standing;
	bool renew = watcher->renew, probe = watcher->probe;
	watcher->renew = watcher->probe = false;
	g_mutex_unlock(&account->lock);
	return leave ? TURN_LEAVE : renew ? TURN_AGAIN : probe ? TURN_PROBE : TURN_STAY;
}

static void
judge(struct watcher *watcher)
{
	g_mutex_lock(&watcher->account->lock);
	push_judge(watcher);
	g_mutex_unlock(&watcher->account->lock);
}

static enum turn
probe_line(struct watcher *watcher)
{
	struct fault fault;
	unsigned most = MIN(PROBE_MAX_S, MAX(watcher->account->config.timeout_s / 3, 1));
	if (conn_selected(watcher->conn) != NULL) /* IDLE takes no command */
		return TURN_AGAIN;
	if (conn_probe(watcher->conn, most, &fault)) {
		judge(watcher);
		return woken(watcher);
	}
	log_debug("connection %u is dead: %s", watcher->number, fault.text);
	return TURN_LEAVE;
}

/* Some end what is silent after minutes: the next time we are earlier. A network that went, or a
 * sleep, which counts in lasted_ns, says nothing of that. */
static void
round_cut(struct watcher *watcher, int64_t lasted_ns, const struct fault *fault)
{
	watcher->rounds = 0;
	if (fault->kind != FAULT_TIMEOUT && lasted_ns > ROUND_MIN_NS &&
	    lasted_ns <= watcher->round_ns)
		watcher->round_ns = MAX(lasted_ns * 3 / 4, ROUND_MIN_NS);
}

static void
round_over(struct watcher *watcher)
{
	watcher->refusals = 0;
	if (++watcher->rounds % ROUNDS_GOOD == 0)
		watcher->round_ns = MIN(watcher->round_ns * 2, ROUND_NS);
}

static enum turn
listen_on(struct watcher *watcher)
{
	int64_t began = clock_boot_ns();
	enum conn_heard heard;
	enum turn turn = woken(watcher); /* what was wanted meanwhile */
	while (turn == TURN_STAY || turn == TURN_PROBE) {
		struct fault fault;
		if (turn == TURN_PROBE) {
			turn = probe_line(watcher);
			continue;
		}
		if (!conn_listen(watcher->conn, began + watcher->round_ns, &heard, &fault)) {
			log_debug("connection %u: %s", watcher->number, fault.text);
			round_cut(watcher, clock_boot_ns() - began, &fault);
			return TURN_LEAVE;
		}
		const struct conn_mailbox *mailbox = conn_selected(watcher->conn);
		if (heard == CONN_HEARD_NOTHING)
			round_over(watcher);
		if (heard == CONN_HEARD_NOTHING || (mailbox != NULL && mailbox->stale))
			return TURN_AGAIN;
		if (heard == CONN_HEARD_END)
			return TURN_ENDED;
		if (heard == CONN_HEARD_WAKE)
			turn = woken(watcher);
	}
	return turn;
}

/* The server would not, though the line works. */
static void
refused(struct watcher *watcher, enum imap_cap cap, const struct fault *fault)
{
	log_debug("connection %u: %s", watcher->number, fault->text);
	if (!conn_alive(watcher->conn))
		return;
	watcher->after_ns = clock_boot_ns() + ((int64_t)1 << watcher->refusals) * CLOCK_SEC;
	if (++watcher->refusals < REFUSALS_MAX)
		return;
	g_mutex_lock(&watcher->account->lock);
	push_ban(watcher->account, cap, "refuses it");
	g_mutex_unlock(&watcher->account->lock);
	watcher->refusals = 0;
}

/* --- NOTIFY ---------------------------------------------------------------------------- */

static bool
ask_notify(struct watcher *watcher, struct fault *fault)
{
	struct account *account = watcher->account;
	unsigned events;
	watcher->asked_ns = clock_boot_ns();
	watcher->answering = true;
	bool ok = conn_notify(watcher->conn, &events, fault);
	watcher->answering = false;
	if (ok && (events & CONN_EVENT_FLAGS) == 0)
		ok = fault_set(fault, FAULT_UNSUPPORTED, "NOTIFY does not tell of flags here");
	if (!ok)
		return false;
	g_mutex_lock(&account->lock);
	struct mbox *tree = work_mbox(account, ROOT_MAILBOX);
	if ((events & CONN_EVENT_MAILBOXES) != 0)
		push_cover(watcher, tree, watcher->asked_ns);
	if (tree->complete)
		work_want_sync(account, tree);
	g_mutex_unlock(&account->lock);
	return true;
}

static void
watch_all(struct watcher *watcher)
{
	const struct conn_handler handler = { .ctx = watcher, .untagged = hear_all };
	struct fault fault = { 0 };
	enum turn turn = TURN_AGAIN;
	conn_set_handler(watcher->conn, &handler);
	while (turn == TURN_AGAIN) {
		if (!ask_notify(watcher, &fault)) {
			turn = TURN_ENDED;
			break;
		}
		judge(watcher);
		turn = listen_on(watcher);
		if (turn == TURN_ENDED)
			fault_set(&fault, FAULT_REFUSED, "NOTIFICATIONOVERFLOW");
	}
	/* What can't tell of everything is of less use than IDLE and polling. */
	if (turn == TURN_ENDED) {
		watcher->refusals = REFUSALS_MAX;
		refused(watcher, IMAP_CAP_NOTIFY, &fault);
	}
	conn_set_handler(watcher->conn, NULL);
}

/* --- IDLE ------------------------------------------------------------------------------ */

static bool
stand_on(struct watcher *watcher, uint32_t id, struct mailbox_record *record_r,
         struct fault *fault)
{
	struct account *account = watcher->account;
	struct cache_view *view = cache_view_begin(account->cache);
	bool known = cache_mailbox_get(view, id, record_r);
	GString *raw = g_string_new_len(known ? record_r->raw : "",
	                                known ? (gssize)record_r->raw_len : 0);
	cache_view_end(view);
	const char *params = conn_has(watcher->conn, IMAP_CAP_CONDSTORE) ? "(CONDSTORE)" : NULL;
	watcher->asked_ns = clock_boot_ns();
	bool ok = known ? conn_select(watcher->conn, raw->str, raw->len, true, params, fault)
	                : fault_set(fault, FAULT_GONE, "the mailbox is no longer there");
	g_string_free(raw, TRUE);
	return ok;
}

/* IDLE has begun: what changed before is found by a sync, unless nothing did. */
static void
cover_one(struct watcher *watcher, const struct mailbox_record *record)
{
	struct account *account = watcher->account;
	const struct conn_mailbox *now = conn_selected(watcher->conn);
	const struct imap_mailbox_status status = {
		.has_messages = true, .messages = now->exists,
		.has_uidnext = true, .uidnext = now->uidnext,
		.has_uidvalidity = true, .uidvalidity = now->uidvalidity,
		.has_highestmodseq = true, .highestmodseq = now->highestmodseq,
	};
	g_mutex_lock(&account->lock);
	struct mbox *mbox = work_mbox(account, watcher->standing);
	push_cover(watcher, mbox, watcher->asked_ns);
	if (same_numbers(record, &status))
		push_fresh(mbox, watcher->asked_ns);
	else
		work_mark_dirty(account, mbox);
	g_mutex_unlock(&account->lock);
}

/* Another IDLE: news may have been lost, and some servers tell at a NOOP only. */
static bool
renew_idle(struct watcher *watcher, struct fault *fault)
{
	struct account *account = watcher->account;
	watcher->answering = true;
	bool ok = conn_noop(watcher->conn, fault);
	watcher->answering = false;
	if (!ok)
		return false;
	judge(watcher);
	if (!conn_idle(watcher->conn, fault))
		return false;
	g_mutex_lock(&account->lock);
	struct mbox *mbox = work_mbox(account, watcher->standing);
	if (mbox->covered_by == watcher)
		work_want_sync(account, mbox);
	g_mutex_unlock(&account->lock);
	return true;
}

static void
watch_one(struct watcher *watcher, uint32_t id)
{
	const struct conn_handler handler = { .ctx = watcher, .untagged = hear_one };
	struct account *account = watcher->account;
	struct mailbox_record record;
	struct fault fault = { 0 };
	if (!stand_on(watcher, id, &record, &fault)) {
		log_debug("connection %u: %s", watcher->number, fault.text);
		g_mutex_lock(&account->lock);
		if (conn_alive(watcher->conn))
			work_mbox(account, id)->refused_ns = clock_boot_ns();
		g_mutex_unlock(&account->lock);
		watcher->after_ns = clock_boot_ns() + CLOCK_SEC; /* the target is another then */
		return;
	}
	conn_set_handler(watcher->conn, &handler);
	enum turn turn = TURN_AGAIN;
	bool ok = conn_idle(watcher->conn, &fault);
	if (ok)
		cover_one(watcher, &record);
	while (ok && turn == TURN_AGAIN) {
		int64_t began = clock_boot_ns();
		turn = listen_on(watcher);
		ok = conn_idle_end(watcher->conn, &fault);
		if (ok && turn == TURN_ENDED && clock_boot_ns() - began < ROUND_MIN_NS)
			ok = fault_set(&fault, FAULT_REFUSED, "IDLE ended at once");
		if (ok && turn == TURN_ENDED)
			turn = TURN_AGAIN;
		if (ok && conn_selected(watcher->conn)->stale)
			break;
		if (ok && turn == TURN_AGAIN)
			ok = renew_idle(watcher, &fault);
	}
	if (!ok)
		refused(watcher, IMAP_CAP_IDLE, &fault);
	conn_set_handler(watcher->conn, NULL);
}

/* --- the thread ------------------------------------------------------------------------ */

static void
pause_after(struct watcher *watcher, const struct fault *fault)
{
	int64_t now = clock_boot_ns();
	unsigned pause_s = MIN(1u << MIN(watcher->failures, 16), PAUSE_MAX_S);
	watcher->failures++;
	double jitter = g_random_double_range(0.75, 1.25);
	watcher->after_ns = now + (int64_t)(pause_s * CLOCK_SEC * jitter);
	if (fault != NULL && fault->kind == FAULT_AUTH)
		watcher->after_ns = now + LOGIN_PAUSE_NS;
}

/* Lock held, but for the time that it takes. */
static void
connect_watcher(struct watcher *watcher)
{
	struct account *account = watcher->account;
	struct conn *conn;
	struct fault fault = { 0 };
	g_mutex_unlock(&account->lock);
	bool ok = conn_open(&account->config.conn, account->pool, watcher->number, &conn, &fault);
	if (ok) {
		pool_connected(account->pool, clock_boot_ns());
		watcher->connected_ns = clock_boot_ns();
		watcher->round_ns = watcher->round_ns != 0 ? watcher->round_ns : ROUND_NS;
	} else {
		struct fault told = fault;
		/* The same secret has logged in a worker: this must not keep the others away. And
		 * workers that do nothing may not have noticed yet that the host is away. */
		if (fault.kind == FAULT_AUTH)
			told.kind = FAULT_BUSY;
		else if (fault.kind == FAULT_UNREACHABLE)
			told.kind = FAULT_TIMEOUT;
		pool_failed(account->pool, clock_boot_ns(), &told);
		pause_after(watcher, &fault);
		log_debug("connection %u, which would listen: %s", watcher->number, fault.text);
	}
	g_mutex_lock(&account->lock);
	if (!ok)
		return;
	watcher->conn = conn;
	watcher->renew = watcher->probe = false;
}

/* Gives the connection up, politely if it still works. Without the lock. */
static void
hang_up(struct watcher *watcher)
{
	struct account *account = watcher->account;
	struct conn *conn = watcher->conn;
	g_mutex_lock(&account->lock);
	watcher->conn = NULL;
	g_mutex_unlock(&account->lock);
	bool lost = !conn_alive(conn);
	if (!lost)
		conn_logout(conn);
	conn_free(&conn);
	if (lost)
		pool_lost(account->pool, clock_boot_ns());
	else
		pool_closed(account->pool, clock_boot_ns());
	if (clock_boot_ns() - watcher->connected_ns >= GOOD_LIFE_NS)
		watcher->failures = 0;
	if (lost)
		pause_after(watcher, NULL);
}

/* Lock held. */
static void
watcher_sleep(struct watcher *watcher, int64_t until)
{
	struct account *account = watcher->account;
	int64_t pause = CLAMP(until - clock_boot_ns(), CLOCK_MS, SLEEP_NS);
	g_cond_wait_until(&account->push.wake, &account->lock,
	                  g_get_monotonic_time() + pause / 1000);
}

static void
watch(struct watcher *watcher, uint32_t target)
{
	struct account *account = watcher->account;
	g_mutex_lock(&account->lock);
	watcher->standing = target;
	g_mutex_unlock(&account->lock);
	if (target == WATCH_ALL)
		watch_all(watcher);
	else
		watch_one(watcher, target);
	g_mutex_lock(&account->lock);
	push_uncover(watcher);
	g_mutex_unlock(&account->lock);
	if (!conn_alive(watcher->conn))
		hang_up(watcher);
}

void *
watcher_thread(void *data)
{
	struct watcher *watcher = data;
	struct account *account = watcher->account;
	g_mutex_lock(&account->lock);
	while (!account->stopping) {
		int64_t now = clock_boot_ns(), until = now + SLEEP_NS;
		uint32_t target = watcher->target;
		if (target == WATCH_NONE && watcher->conn != NULL) {
			g_mutex_unlock(&account->lock);
			hang_up(watcher);
			g_mutex_lock(&account->lock);
		} else if (target == WATCH_NONE || now < watcher->after_ns) {
			watcher_sleep(watcher, MAX(watcher->after_ns, now + CLOCK_SEC));
		} else if (watcher->conn != NULL) {
			g_mutex_unlock(&account->lock);
			watch(watcher, target);
			g_mutex_lock(&account->lock);
		} else if (pool_may_connect(account->pool, now,
		                            account->connected > 0 ? POOL_PATIENT : POOL_SPARE,
		                            &until)) {
			connect_watcher(watcher);
		} else {
			watcher_sleep(watcher, until);
		}
	}
	g_mutex_unlock(&account->lock);
	if (watcher->conn != NULL)
		hang_up(watcher);
	return NULL;
}
