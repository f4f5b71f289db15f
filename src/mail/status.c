/* SPDX-License-Identifier: MIT */
/*
 * Which mailboxes changed, by STATUS. One mailbox that is stale is synced, which
 * costs an EXAMINE. Where several are wanted at a time, as by `find`, one look at
 * all of them tells which have changed, and only those are opened.
 *
 * What STATUS can't tell (a server without CONDSTORE: flags) counts as unchanged
 * for some refresh intervals only.
 */
#include "config.h"

#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "mail/tree.h"

/* So many stale mailboxes within a refresh interval are each synced at once. */
#define DIRECT_MAX 2u
/* More than so many are not worth a STATUS each where one LIST brings them all. */
#define SINGLE_MAX 32u
/* STATUS commands of one look, where each mailbox needs its own. */
#define LOOK_MAX 500u
#define IN_FLIGHT 100u
/* A mailbox used within this time is one that may be asked for again. */
#define IN_USE_NS (600 * CLOCK_SEC)
/* Without mod-sequences: refresh intervals for which flags are taken for unchanged; more where many
 * mailboxes are looked at. */
#define FLAGS_REFRESH 6
/* Looks that nobody waits for take up at most this part of the time. */
#define POLL_PART 10

/* --- what the server tells ---------------------------------------------------------------- */

GString *
status_items(const struct conn *conn)
{
	GString *items = g_string_new("(MESSAGES UIDNEXT UIDVALIDITY");
	g_string_append(items, conn_has(conn, IMAP_CAP_CONDSTORE) ? " HIGHESTMODSEQ" : " UNSEEN");
	if (conn_has(conn, IMAP_CAP_OBJECTID))
		g_string_append(items, " MAILBOXID");
	return g_string_append_c(items, ')');
}

static void
status_free(gpointer data)
{
	struct tree_status *status = data;
	g_free(status->mailboxid);
	g_free(status);
}

void
status_take(struct tree *tree, const struct imap_response *response)
{
	struct imap_mailbox_status told;
	if (!imap_status_decode(response, &told) || told.name_len == 0 ||
	    memchr(told.name, '\0', told.name_len) != NULL)
		return;
	struct tree_status *status = g_new0(struct tree_status, 1);
	status->has_messages = told.has_messages;
	status->messages = told.messages;
	status->has_uidnext = told.has_uidnext && told.uidnext != 0;
	status->uidnext = told.uidnext;
	status->has_uidvalidity = told.has_uidvalidity && told.uidvalidity != 0;
	status->uidvalidity = told.uidvalidity;
	status->has_unseen = told.has_unseen;
	status->unseen = told.unseen;
	status->highestmodseq = told.has_highestmodseq ? told.highestmodseq : 0;
	status->mailboxid = g_strdup(told.mailboxid != NULL ? told.mailboxid : "");
	status->asked_ns = tree->asked_ns;
	g_hash_table_replace(tree->statuses,
	                     imap_name_is_inbox(told.name, told.name_len)
	                             ? g_strdup("INBOX")
	                             : g_strndup(told.name, told.name_len),
	                     status);
}

GHashTable *
status_table(void)
{
	return g_hash_table_new_full(g_str_hash, g_str_equal, g_free, status_free);
}

const struct tree_status *
status_get(const struct tree *tree, const char *raw)
{
	return g_hash_table_lookup(tree->statuses,
	                           imap_name_is_inbox(raw, strlen(raw)) ? "INBOX" : raw);
}

/* --- asking ------------------------------------------------------------------------------- */

/* STATUS of the mailbox that the same connection has selected is old news, or worse. */
static bool
let_go(struct tree *tree, GPtrArray *raws, struct fault *fault)
{
	struct conn *conn = tree->worker->conn;
	const struct conn_mailbox *selected = conn_selected(conn);
	for (guint i = 0; selected != NULL && i < raws->len; i++) {
		const char *raw = g_ptr_array_index(raws, i);
		if (raw != NULL && strlen(raw) == selected->name_len &&
		    memcmp(raw, selected->name, selected->name_len) == 0) {
			tree->worker->selected = 0;
			return conn_unselect(conn, fault);
		}
	}
	return true;
}

/* A NO for another reason than absence is no proof. */
static enum absence
absence(const struct conn_reply *reply)
{
	if (reply->status != IMAP_STATUS_NO)
		return ABSENCE_NONE;
	if (reply->code == IMAP_CODE_NONEXISTENT || reply->code == IMAP_CODE_TRYCREATE)
		return ABSENCE_SURE;
	return reply->code == IMAP_CODE_NONE ? ABSENCE_LIKELY : ABSENCE_NONE;
}

bool
status_ask(struct tree *tree, GPtrArray *raws, enum absence *absence_r, struct fault *fault)
{
	struct conn *conn = tree->worker->conn;
	struct conn_reply reply = { 0 };
	uint32_t tags[IN_FLIGHT];
	GString *items = status_items(conn);
	bool ok = let_go(tree, raws, fault);
	for (guint from = 0; ok && from < raws->len; from += IN_FLIGHT) {
		guint count = MIN(IN_FLIGHT, raws->len - from);
		tree->asked_ns = clock_boot_ns();
		for (guint i = 0; i < count; i++) {
			const char *raw = g_ptr_array_index(raws, from + i);
			tags[i] = 0;
			if (raw == NULL)
				continue;
			struct imap_command *command = conn_command(conn, "STATUS");
			imap_command_mailbox(command, raw, strlen(raw));
			imap_command_raw(command, items->str);
			tags[i] = conn_send(conn, command);
		}
		for (guint i = 0; ok && i < count; i++) {
			if (tags[i] == 0)
				continue;
			/* A name that can't be said is one of which nothing is known. */
			bool told = conn_wait(conn, tags[i], &reply, fault);
			ok = told || conn_alive(conn);
			tree->answered += told && reply.status != IMAP_STATUS_NO;
			if (told && absence_r != NULL)
				absence_r[from + i] = absence(&reply);
		}
	}
	conn_reply_clear(&reply);
	g_string_free(items, TRUE);
	return ok;
}

/* --- wanting a look ----------------------------------------------------------------------- */

/* Counts the mailboxes that were stale when they were wanted, by refresh intervals. Lock held. */
static unsigned
count_wanted(struct account *account, struct mbox *mbox, int64_t now)
{
	int64_t refresh = (int64_t)account->config.refresh_s * CLOCK_SEC;
	int64_t age = now - account->look_since_ns;
	if (account->look_since_ns == 0 || age >= refresh) {
		account->look_before = age < 2 * refresh ? account->look_count : 0;
		account->look_count = 0;
		account->look_since_ns = now;
	}
	if (mbox->look_ns < account->look_since_ns) {
		mbox->look_ns = now;
		account->look_count++;
	}
	return MAX(account->look_count, account->look_before);
}

void
tree_want_look(struct account *account, struct mbox *mbox, bool waiting)
{
	int64_t now = clock_boot_ns();
	struct mbox *tree = work_mbox(account, ROOT_MAILBOX);
	if (mbox == tree || !mbox->complete || mbox->dirty || account->look_useless ||
	    count_wanted(account, mbox, now) <= DIRECT_MAX) {
		work_want_sync(account, mbox);
		return;
	}
	if (!waiting && now - account->looked_ns < POLL_PART * account->look_took_ns)
		return;
	if (!mbox->look_wanted) {
		mbox->look_wanted = true;
		account->looks++;
	}
	account->look_all |= waiting;
	work_want_sync(account, tree);
}

void
status_begin(struct tree *tree)
{
	struct account *account = tree->account;
	tree->began_ns = tree->asked_ns = clock_boot_ns();
	g_mutex_lock(&account->lock);
	tree->look = account->looks > 0;
	tree->look_all = tree->look && (account->look_all || account->looks > SINGLE_MAX);
	account->look_all = false;
	GHashTableIter iter;
	gpointer value;
	g_hash_table_iter_init(&iter, account->mboxes);
	while (g_hash_table_iter_next(&iter, NULL, &value)) {
		struct mbox *mbox = value;
		if (mbox->lost)
			g_hash_table_add(tree->lost, GUINT_TO_POINTER(mbox->id));
		mbox->lost = false;
	}
	g_mutex_unlock(&account->lock);
}

bool
status_by_list(const struct tree *tree)
{
	return tree->look_all && conn_has(tree->worker->conn, IMAP_CAP_LIST_STATUS);
}

/* Whether STATUS can say anything that matters. Lock held. */
static bool
undecided(const struct tree *tree, const struct mbox *mbox)
{
	return mbox->id != ROOT_MAILBOX && mbox->complete && !mbox->gone && !mbox->dirty &&
	       !mbox->sync_running && !mbox->sync_queued && mbox->id != tree->worker->selected;
}

static gint
by_number(gconstpointer a, gconstpointer b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return (x > y) - (x < y);
}

/* Those that are waited for; then those that are used too and will be stale soon, or, where all are
 * wanted, the next ones in the order of the tree. */
static GArray *
choose(const struct tree *tree)
{
	struct account *account = tree->account;
	int64_t now = clock_boot_ns();
	int64_t half = (int64_t)account->config.refresh_s * CLOCK_SEC / 2;
	GArray *wanted = g_array_new(FALSE, FALSE, sizeof(uint32_t));
	GArray *others = g_array_new(FALSE, FALSE, sizeof(uint32_t));
	GHashTableIter iter;
	gpointer value;
	g_mutex_lock(&account->lock);
	g_hash_table_iter_init(&iter, account->mboxes);
	while (g_hash_table_iter_next(&iter, NULL, &value)) {
		const struct mbox *mbox = value;
		bool used = mbox->used_ns != 0 && now - mbox->used_ns < IN_USE_NS;
		if (!undecided(tree, mbox))
			continue;
		if (mbox->look_wanted)
			g_array_append_val(wanted, mbox->id);
		else if (now - mbox->synced_ns >= half && (used || tree->look_all))
			g_array_append_val(others, mbox->id);
	}
	g_mutex_unlock(&account->lock);
	g_array_sort(wanted, by_number);
	g_array_sort(others, by_number);
	/* Where LIST could bring them all, more are its work. */
	bool by_list = conn_has(tree->worker->conn, IMAP_CAP_LIST_STATUS) && !tree->look_all;
	guint first = 0, most = by_list ? SINGLE_MAX : LOOK_MAX;
	while (first < others->len && wanted->len > 0 &&
	       g_array_index(others, uint32_t, first) < g_array_index(wanted, uint32_t, 0))
		first++;
	for (guint i = 0; i < others->len && wanted->len < most; i++)
		g_array_append_val(wanted, g_array_index(others, uint32_t,
		                                         (first + i) % others->len));
	g_array_free(others, TRUE);
	return wanted;
}

bool
status_ask_wanted(struct tree *tree, struct fault *fault)
{
	struct mailbox_record record;
	if (!tree->look || g_hash_table_size(tree->statuses) > 0)
		return true;
	GPtrArray *raws = g_ptr_array_new_with_free_func(g_free);
	GArray *ids = choose(tree);
	struct cache_view *view = cache_view_begin(tree->account->cache);
	for (guint i = 0; i < ids->len; i++)
		if (cache_mailbox_get(view, g_array_index(ids, uint32_t, i), &record) &&
		    record.raw_len > 0 && (record.attrs & IMAP_ATTR_NOSELECT) == 0)
			g_ptr_array_add(raws, g_strndup(record.raw, record.raw_len));
	cache_view_end(view);
	bool ok = status_ask(tree, raws, NULL, fault);
	if (ok && tree->answered > 0 && g_hash_table_size(tree->statuses) == 0) {
		log_debug("STATUS tells nothing here");
		g_mutex_lock(&tree->account->lock);
		tree->account->look_useless = true;
		g_mutex_unlock(&tree->account->lock);
	}
	g_array_free(ids, TRUE);
	g_ptr_array_free(raws, TRUE);
	return ok;
}

/* --- what others have lost ---------------------------------------------------------------- */

static void
on_response(void *ctx, const struct imap_response *response)
{
	if (imap_response_type(response) == IMAP_TYPE_STATUS)
		status_take(ctx, response);
}

/* As many as there were, and none came: none went. */
static bool
has_lost_nothing(const struct mailbox_record *record, const struct tree_status *status)
{
	return status != NULL && status->has_messages && status->messages == record->exists &&
	       status->has_uidnext && status->uidnext == record->uidnext &&
	       status->has_uidvalidity && status->uidvalidity == record->uidvalidity;
}

static void
drop_those(struct tree *tree, GHashTable *mailboxes)
{
	struct mailbox_record record;
	GHashTableIter iter;
	gpointer key;
	struct cache_view *view = cache_view_begin(tree->account->cache);
	g_mutex_lock(&tree->account->lock);
	g_hash_table_iter_init(&iter, mailboxes);
	while (g_hash_table_iter_next(&iter, &key, NULL)) {
		struct mbox *mbox = work_mbox(tree->account, GPOINTER_TO_UINT(key));
		if (!cache_mailbox_get(view, mbox->id, &record))
			continue;
		char *raw = g_strndup(record.raw, record.raw_len);
		const struct tree_status *status = status_get(tree, raw);
		g_free(raw);
		if (has_lost_nothing(&record, status)) {
			mbox->removed_ns = MAX(mbox->removed_ns, status->asked_ns);
			g_hash_table_iter_remove(&iter);
		}
	}
	g_mutex_unlock(&tree->account->lock);
	cache_view_end(view);
}

bool
status_drop_unchanged(struct worker *worker, GHashTable *mailboxes, struct fault *fault)
{
	struct tree tree = { .worker = worker, .account = worker->account,
		             .statuses = status_table() };
	const struct conn_handler handler = { .ctx = &tree, .untagged = on_response };
	GPtrArray *raws = g_ptr_array_new_with_free_func(g_free);
	struct mailbox_record record;
	GHashTableIter iter;
	gpointer key;
	struct cache_view *view = cache_view_begin(worker->account->cache);
	g_hash_table_iter_init(&iter, mailboxes);
	while (g_hash_table_iter_next(&iter, &key, NULL))
		if (GPOINTER_TO_UINT(key) != worker->selected &&
		    cache_mailbox_get(view, GPOINTER_TO_UINT(key), &record) && record.raw_len > 0)
			g_ptr_array_add(raws, g_strndup(record.raw, record.raw_len));
	cache_view_end(view);
	conn_set_handler(worker->conn, &handler);
	bool ok = status_ask(&tree, raws, NULL, fault);
	conn_set_handler(worker->conn, NULL);
	if (ok)
		drop_those(&tree, mailboxes);
	g_ptr_array_free(raws, TRUE);
	g_hash_table_destroy(tree.statuses);
	return ok;
}

/* --- deciding ----------------------------------------------------------------------------- */

/* Whether the index is what STATUS tells of. Lock held. */
static bool
is_unchanged(const struct account *account, struct mbox *mbox, const struct mailbox_record *record,
             const struct tree_status *status)
{
	bool same = status->has_messages && status->messages == record->exists &&
	            status->has_uidnext && status->uidnext == record->uidnext &&
	            status->has_uidvalidity && status->uidvalidity == record->uidvalidity;
	if (record->mailboxid[0] != '\0' && status->mailboxid[0] != '\0' &&
	    strcmp(record->mailboxid, status->mailboxid) != 0)
		return false;
	if (same && status->highestmodseq != 0)
		return status->highestmodseq == record->highestmodseq;
	bool known = mbox->has_unseen;
	bool same_unseen = status->has_unseen && (!known || mbox->unseen == status->unseen);
	mbox->has_unseen = status->has_unseen;
	mbox->unseen = status->unseen;
	int64_t intervals = FLAGS_REFRESH + FLAGS_REFRESH * (int64_t)account->look_count / 64;
	return same && same_unseen &&
	       status->asked_ns - mbox->flags_ns <
	               intervals * (int64_t)account->config.refresh_s * CLOCK_SEC;
}

/* Lock held. `waits`: of what need not be waited for any more. */
static void
decide(struct tree *tree, struct mbox *mbox, const struct mailbox_record *record,
       const struct tree_status *status, struct wait_list *waits)
{
	struct account *account = tree->account;
	bool wanted = mbox->look_wanted;
	if (!undecided(tree, mbox) || status == NULL) {
		if (wanted && !mbox->gone)
			work_want_sync(account, mbox);
	} else if (mbox->synced_ns >= status->asked_ns) {
		wait_list_move(&mbox->refresh_waits, waits);
	} else if (is_unchanged(account, mbox, record, status)) {
		mbox->synced_ns = status->asked_ns;
		mbox->removed_ns = MAX(mbox->removed_ns, status->asked_ns);
		wait_list_move(&mbox->refresh_waits, waits);
		/* Nobody need wait for that. */
		if (sync_compare_due(account, record))
			work_want_sync(account, mbox);
	} else {
		work_mark_dirty(account, mbox);
	}
}

void
status_decide(struct tree *tree, bool ok)
{
	struct account *account = tree->account;
	struct wait_list waits = { 0 };
	struct mailbox_record record;
	GHashTableIter iter;
	gpointer value;
	int64_t now = clock_boot_ns();
	/* Looks that were wanted too late for this run are left to the next one. */
	if (ok && !tree->look && g_hash_table_size(tree->statuses) == 0)
		return;
	struct cache_view *view = cache_view_begin(account->cache);
	g_mutex_lock(&account->lock);
	if (tree->look) {
		account->looked_ns = now;
		account->look_took_ns = now - tree->began_ns;
	}
	g_hash_table_iter_init(&iter, account->mboxes);
	while (g_hash_table_iter_next(&iter, NULL, &value)) {
		struct mbox *mbox = value;
		if (ok && cache_mailbox_get(view, mbox->id, &record)) {
			char *raw = g_strndup(record.raw, record.raw_len);
			decide(tree, mbox, &record, status_get(tree, raw), &waits);
			g_free(raw);
		} else if (mbox->look_wanted) {
			mbox->failed_ns = now;
			wait_list_move(&mbox->refresh_waits, &waits);
		}
		mbox->look_wanted = false;
	}
	account->looks = 0;
	g_mutex_unlock(&account->lock);
	cache_view_end(view);
	wait_list_end(&waits, NULL);
}
