/* SPDX-License-Identifier: MIT */
/*
 * A worker's connection: opening it, giving it up, finding out whether it is alive,
 * and having the mailbox selected that is wanted. While there is no line what waits
 * fails after a grace, since a reader should not wait for what is known to be away.
 */
#include "config.h"

#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "mail/internal.h"

/* After a line was lost, what waits is not failed before so long has passed without a new one. */
#define GRACE_NS (5 * CLOCK_SEC)
/* What was tried so lately need not be tried for who asks now. */
#define TRIED_NS (3 * CLOCK_SEC)
/* A doubtful one must answer within this, or a third of the timeout. */
#define PROBE_MAX_S 10u

/* --- opening and closing ----------------------------------------------------------------- */

/* There is no connection and could not be had: what waits for one need not wait longer. */
static void
fail_waits(struct account *account, const struct fault *fault)
{
	struct wait_list ended[64];
	unsigned count = 0;
	GHashTableIter iter;
	gpointer value;
	g_mutex_lock(&account->lock);
	g_hash_table_iter_init(&iter, account->mboxes);
	while (g_hash_table_iter_next(&iter, NULL, &value) && count < G_N_ELEMENTS(ended) - 1) {
		struct mbox *mbox = value;
		if (mbox->refresh_waits.count > 0)
			wait_list_take(&mbox->refresh_waits, &ended[count++]);
		if (mbox->listing_waits.count > 0)
			wait_list_take(&mbox->listing_waits, &ended[count++]);
		if (mbox->sync_queued && mbox->id != 0) {
			mbox->sync_queued = false;
			g_queue_remove(&account->sync_queue, mbox);
			mbox->failed_ns = clock_boot_ns();
		}
	}
	g_mutex_unlock(&account->lock);
	for (unsigned i = 0; i < count; i++)
		wait_list_end(&ended[i], fault);
	fetch_fail_all(account, fault);
}

static void
connect_failed(struct worker *worker, const struct fault *fault)
{
	struct account *account = worker->account;
	int64_t now = clock_boot_ns();
	pool_failed(account->pool, now, fault);
	g_mutex_lock(&account->lock);
	bool alone = account->connected == 0;
	bool changed = account->line_fault.kind != fault->kind;
	account->refused_ns = now;
	if (alone)
		account->line_fault = *fault;
	bool fatal = fault->kind == FAULT_AUTH || fault->kind == FAULT_TLS ||
	             fault->kind == FAULT_UNSUPPORTED;
	if (account->login == LOGIN_PENDING && fatal)
		account->login = LOGIN_FAILED;
	g_cond_broadcast(&account->state);
	bool over = alone && (fatal || now - account->line_lost_ns >= GRACE_NS);
	bool news = alone && changed && account->login == LOGIN_DONE;
	g_mutex_unlock(&account->lock);
	if (news)
		log_warn("%s", fault->text);
	else
		log_debug("connection %u: %s", worker->number, fault->text);
	if (over)
		fail_waits(account, fault);
}

static void
connected(struct worker *worker, struct conn *conn)
{
	struct account *account = worker->account;
	pool_connected(account->pool, clock_boot_ns());
	g_mutex_lock(&account->lock);
	worker->conn = conn;
	worker->selected = 0;
	worker->idle_since_ns = clock_boot_ns();
	account->connected++;
	push_connected(account, conn);
	if (account->line_fault.kind != FAULT_NONE && account->login == LOGIN_DONE)
		log_info("connected again");
	account->line_fault.kind = FAULT_NONE;
	if (account->login == LOGIN_PENDING) {
		account->login = LOGIN_DONE;
		work_want_sync(account, work_mbox(account, 0));
	}
	g_cond_broadcast(&account->state);
	g_cond_broadcast(&account->work);
	g_mutex_unlock(&account->lock);
}

void
line_open(struct worker *worker)
{
	struct account *account = worker->account;
	struct conn *conn;
	struct fault fault = { 0 };
	if (conn_open(&account->config.conn, account->pool, worker->number, &conn, &fault))
		connected(worker, conn);
	else
		connect_failed(worker, &fault);
}

void
line_close(struct worker *worker, bool polite)
{
	struct account *account = worker->account;
	struct conn *conn = worker->conn;
	g_mutex_lock(&account->lock);
	worker->conn = NULL;
	worker->selected = 0;
	account->connected--;
	if (account->connected == 0)
		account->line_lost_ns = clock_boot_ns();
	if (!polite)
		account->broke_ns = clock_boot_ns();
	g_mutex_unlock(&account->lock);
	if (polite)
		conn_logout(conn);
	conn_free(&conn);
	if (polite)
		pool_closed(account->pool, clock_boot_ns());
	else
		pool_lost(account->pool, clock_boot_ns());
}

void
line_wish(struct account *account, int64_t now)
{
	if (account->connected > 0)
		return;
	account->wished_ns = now;
	g_cond_broadcast(&account->work);
}

bool
line_is_away(struct account *account, struct fault *fault_r)
{
	int64_t now = clock_boot_ns();
	bool away = account->connected == 0 && account->line_fault.kind != FAULT_NONE &&
	            now - account->line_lost_ns >= GRACE_NS &&
	            now - account->refused_ns < TRIED_NS;
	if (away) {
		*fault_r = account->line_fault;
		line_wish(account, now);
	}
	return away;
}

void
line_probe(struct worker *worker)
{
	struct fault fault;
	unsigned most = MIN(PROBE_MAX_S, MAX(worker->account->config.timeout_s / 3, 1));
	if (conn_probe(worker->conn, most, &fault)) {
		worker->idle_since_ns = clock_boot_ns();
	} else {
		log_debug("connection %u is dead: %s", worker->number, fault.text);
		line_close(worker, false);
	}
}

/* --- selecting ------------------------------------------------------------------------- */

bool
line_other_mailbox(const struct conn_mailbox *mailbox, const char *mailboxid)
{
	return mailbox->mailboxid[0] != '\0' && mailboxid != NULL && mailboxid[0] != '\0' &&
	       strcmp(mailbox->mailboxid, mailboxid) != 0;
}

/* The UIDs of what is selected are not those of the index. */
static bool
is_displaced(const struct conn_mailbox *mailbox, uint64_t uidvalidity, const char *mailboxid)
{
	return mailbox->uidvalidity != uidvalidity || line_other_mailbox(mailbox, mailboxid);
}

bool
line_select(struct worker *worker, uint32_t id, bool writable, bool any_validity,
              struct fault *fault)
{
	struct account *account = worker->account;
	struct cache_view *view = cache_view_begin(account->cache);
	struct mailbox_record record;
	bool known = cache_mailbox_get(view, id, &record);
	uint64_t uidvalidity = known ? record.uidvalidity : 0;
	bool indexed = known && record.space != 0;
	char *mailboxid = g_strdup(known ? record.mailboxid : "");
	GString *raw = g_string_new_len(known ? record.raw : "",
	                                known ? (gssize)record.raw_len : 0);
	cache_view_end(view);
	bool ok = known || fault_set(fault, FAULT_GONE, "the mailbox is no longer there");
	const struct conn_mailbox *state = conn_selected(worker->conn);
	/* A mailbox that was renumbered or renamed while it was selected here is not always told
	 * so. */
	bool other = state != NULL &&
	             ((indexed && !any_validity && is_displaced(state, uidvalidity, mailboxid)) ||
	              state->name_len != raw->len ||
	              memcmp(state->name, raw->str, raw->len) != 0);
	/* Whether it is still read-only a new SELECT tells alone. */
	bool reselect = worker->selected != id || state == NULL || state->stale || other ||
	                (writable && (!worker->selected_writable || state->read_only));
	if (ok && reselect) {
		worker->selected = 0;
		ok = conn_select(worker->conn, raw->str, raw->len, !writable,
		                 conn_has(worker->conn, IMAP_CAP_CONDSTORE) ? "(CONDSTORE)" : NULL,
		                 fault);
		if (ok) {
			worker->selected = id;
			worker->selected_writable = writable;
			worker->synced = false;
		}
		state = conn_selected(worker->conn);
	}
	g_string_free(raw, TRUE);
	bool displaced = ok && indexed && !any_validity &&
	                 is_displaced(state, uidvalidity, mailboxid);
	g_free(mailboxid);
	if (displaced) {
		g_mutex_lock(&account->lock);
		struct mbox *mbox = work_mbox(account, id);
		mbox->dirty = true;
		work_want_sync(account, mbox);
		g_mutex_unlock(&account->lock);
		ok = fault_set(fault, FAULT_GONE, "the mailbox was renumbered by the server");
	}
	return ok;
}

bool
line_select_current(struct worker *worker, uint32_t id, struct fault *fault)
{
	bool selected = worker->selected == id && worker->selected_writable &&
	                conn_selected(worker->conn) != NULL;
	return (!selected || conn_noop(worker->conn, fault)) &&
	       line_select(worker, id, true, false, fault);
}
