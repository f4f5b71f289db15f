/* SPDX-License-Identifier: MIT */
/*
 * Who wants which octets, and the commands that get them: see fetch.h.
 *
 * Small messages are fetched whole, many in one command. Of a large one OPEN
 * gets the first chunk and, in the same round trip, what stands at the last
 * octet that RFC822.SIZE announces: exactly one octet proves the size. Then
 * ranges are fetched as they are read, doubling as long as the reader reads on.
 * Where a size or a range turns out wrong the message comes in one piece.
 */
#include "config.h"

#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "mail/fetch.h"

#define BATCH_MAX        50         /* messages in one command */
#define BATCH_OCTETS_MAX (4u << 20)
#define WINDOW_MAX       16u        /* chunks: 4 MiB */
#define FAILURES_MAX     3
#define PROBE_OCTETS     65536u

/* --- asking ------------------------------------------------------------------------------- */

static void
fetch_free(struct fetch *fetch)
{
	g_ptr_array_free(fetch->waits, TRUE);
	g_free(fetch);
}

/* Forgets a fetch that nobody needs. Lock held. */
static void
fetch_release(struct account *account, struct fetch *fetch)
{
	if (fetch->pins > 0 || fetch->waits->len > 0 || fetch->queued || fetch->running)
		return;
	g_hash_table_remove(account->fetches, &fetch->ino);
	fetch_free(fetch);
}

/* A fetch made from the index; NULL: there is no such message. */
static struct fetch *
fetch_new(struct account *account, uint64_t ino)
{
	struct fetch *fetch = g_new0(struct fetch, 1);
	fetch->ino = ino;
	fetch->waits = g_ptr_array_new_with_free_func(fetch_wait_release);
	if (fetch_locate(account, fetch))
		return fetch;
	fetch_free(fetch);
	return NULL;
}

/* Finds or makes the fetch and locks the account. NULL: no such message, and no lock. */
static struct fetch *
fetch_lock(struct account *account, uint64_t ino)
{
	g_mutex_lock(&account->lock);
	struct fetch *fetch = g_hash_table_lookup(account->fetches, &ino);
	if (fetch != NULL)
		return fetch;
	g_mutex_unlock(&account->lock);
	struct fetch *made = fetch_new(account, ino);
	if (made == NULL)
		return NULL;
	g_mutex_lock(&account->lock);
	fetch = g_hash_table_lookup(account->fetches, &ino);
	if (fetch == NULL) {
		fetch = made;
		g_hash_table_insert(account->fetches, &fetch->ino, fetch);
	} else {
		fetch_free(made);
	}
	return fetch;
}

void
fetch_enqueue(struct account *account, struct fetch *fetch)
{
	if (fetch->queued || fetch->running)
		return;
	/* One that is gone stays with its mailbox, where that is found out. */
	fetch_locate(account, fetch);
	struct mbox *mbox = work_mbox(account, fetch->mailbox);
	fetch->queued = true;
	g_queue_push_tail(&mbox->fetches, fetch);
	work_want_read(account, mbox);
}

/* Gives the lock back. Ends the wait at once where there is no line to wait for. */
static void
park(struct account *account, struct fetch *fetch, struct fetch_wait *wait)
{
	struct fault fault;
	bool away = line_is_away(account, &fault);
	if (away) {
		fetch_release(account, fetch);
	} else {
		wait->wait.deadline_ns = clock_boot_ns() +
		                         (int64_t)account->config.timeout_s * CLOCK_SEC;
		g_ptr_array_add(fetch->waits, wait_ref(&wait->wait));
		fetch_enqueue(account, fetch);
		watch_park(account, &wait->wait);
	}
	g_mutex_unlock(&account->lock);
	if (away)
		wait_end(&wait->wait, &fault);
}

static void
end_gone(struct fetch_wait *wait)
{
	struct fault fault;
	fault_set(&fault, FAULT_GONE, "the message is no longer there");
	wait_end(&wait->wait, &fault);
}

bool
account_open(struct account *account, struct fetch_wait *wait, uint64_t *size_r)
{
	struct message_record record;
	struct body_info info;
	uint32_t id;
	struct cache_view *view = cache_view_begin(account->cache);
	bool known = cache_message_by_ino(view, wait->ino, &id, &record);
	uint64_t key = known ? message_body_key(&record) : wait->ino;
	bool here = known && body_info_get(view, key, &info) &&
	            (record.state & MESSAGE_PROBABLE) == 0 &&
	            (info.complete ||
	             (info.origin == ((uint64_t)record.space << 32 | record.uid) &&
	              info.size > FETCH_WHOLE_MAX));
	bool unseen = known && (record.flags & IMAP_FLAG_SEEN) == 0;
	cache_view_end(view);
	if (!known) {
		end_gone(wait);
		return false;
	}
	if (unseen && account->config.mark_seen && !account->config.read_only)
		change_seen(account, wait->ino, true);
	if (here) {
		body_touch(account->cache, key);
		*size_r = info.size;
		wait->key = key;
		return true;
	}
	wait->offset = wait->length = 0;
	struct fetch *fetch = fetch_lock(account, wait->ino);
	if (fetch == NULL)
		end_gone(wait);
	else
		park(account, fetch, wait);
	return false;
}

void
account_read(struct account *account, struct fetch_wait *wait)
{
	struct fetch *fetch = fetch_lock(account, wait->ino);
	if (fetch == NULL) {
		end_gone(wait);
		return;
	}
	/* What was opened as another body is not continued with this one, but for what is
	 * compared. */
	bool there = fetch->queued || fetch->running || fetch_locate(account, fetch);
	if (!there || (wait->key != 0 && wait->key != fetch->key &&
	               !(fetch->probable && wait->key == fetch->prior))) {
		fetch_release(account, fetch);
		g_mutex_unlock(&account->lock);
		end_gone(wait);
		return;
	}
	wait->length = MIN(wait->length, (size_t)60 * BODY_CHUNK);
	wait->filled[0] = 0;
	park(account, fetch, wait);
}

bool
account_pin(struct account *account, uint64_t ino)
{
	struct fetch *fetch = fetch_lock(account, ino);
	if (fetch == NULL)
		return false;
	if (fetch->pins++ == 0)
		body_pin(account->cache, fetch->pinned = fetch->key);
	g_mutex_unlock(&account->lock);
	return true;
}

void
account_unpin(struct account *account, uint64_t ino)
{
	g_mutex_lock(&account->lock);
	struct fetch *fetch = g_hash_table_lookup(account->fetches, &ino);
	if (fetch != NULL && fetch->pins > 0) {
		if (--fetch->pins == 0)
			body_unpin(account->cache, fetch->pinned);
		fetch_release(account, fetch);
	}
	g_mutex_unlock(&account->lock);
}

/* --- running ------------------------------------------------------------------------------ */

static bool
is_large(const struct fetch *fetch)
{
	return (fetch->size_known ? fetch->size : fetch->hint) > FETCH_WHOLE_MAX;
}

static struct imap_command *
body_command(struct worker *worker, const char *set)
{
	struct imap_command *command = conn_command(worker->conn, "UID FETCH");
	imap_command_set(command, set);
	return command;
}

static char *
uid_text(const struct fetch *fetch)
{
	return g_strdup_printf("%u", fetch->uid);
}

static uint32_t
send_range(struct worker *worker, const struct fetch *fetch, uint64_t offset, uint64_t length)
{
	char *set = uid_text(fetch);
	char *item = g_strdup_printf("(UID BODY.PEEK[]<%" G_GUINT64_FORMAT ".%" G_GUINT64_FORMAT
	                             ">)", offset, length);
	struct imap_command *command = body_command(worker, set);
	imap_command_raw(command, item);
	g_free(set);
	g_free(item);
	return conn_send(worker->conn, command);
}

/* Waits for a command; a refusal is noted in *refusal_r. */
static bool
wait_reply(struct worker *worker, uint32_t tag, struct fault *refusal_r, struct fault *fault)
{
	struct conn_reply reply = { 0 };
	bool ok = conn_wait(worker->conn, tag, &reply, fault);
	if (ok && refusal_r != NULL)
		conn_reply_fault(&reply, refusal_r, "fetching a message");
	conn_reply_clear(&reply);
	return ok;
}

/* Many small messages, or one that comes in one piece. */
static bool
run_whole(struct receive *receive, struct fault *refusal_r, struct fault *fault)
{
	struct seqset *uids = seqset_new();
	GString *set = g_string_new(NULL);
	for (guint i = 0; i < receive->batch->len; i++) {
		const struct fetch *fetch = g_ptr_array_index(receive->batch, i);
		seqset_add(uids, fetch->uid);
	}
	seqset_format(uids, set);
	struct imap_command *command = body_command(receive->worker, set->str);
	imap_command_raw(command, "(UID BODY.PEEK[])");
	seqset_free(&uids);
	g_string_free(set, TRUE);
	return wait_reply(receive->worker, conn_send(receive->worker->conn, command), refusal_r,
	                  fault);
}

/* The first chunk and the proof of the size, in one round trip. */
static bool
run_probe(struct receive *receive, struct fetch *fetch, struct fault *fault)
{
	receive->probing = true;
	receive->probe_origin = fetch->hint - 1;
	uint32_t first = send_range(receive->worker, fetch, 0, BODY_CHUNK);
	uint32_t last = send_range(receive->worker, fetch, fetch->hint - 1, PROBE_OCTETS);
	bool ok = wait_reply(receive->worker, first, NULL, fault) &&
	          wait_reply(receive->worker, last, NULL, fault);
	receive->probing = false;
	if (!ok)
		return false;
	if (fetch->delivered && receive->probed && receive->probe_size == 1) {
		fetch_sized(receive->account, fetch, fetch->hint);
		fetch_chunk(receive->account, fetch, 0, receive->first->data, receive->first->len);
		receive->gained = true;
	} else {
		fetch->whole = true;
	}
	return true;
}

/* The next chunks to fetch: from the first that a READ lacks. False: none is lacking. */
static bool
next_range(struct account *account, struct fetch *fetch, uint64_t *offset_r, uint64_t *length_r)
{
	struct ending ending;
	uint32_t from = UINT32_MAX, to = 0;
	ending_init(&ending);
	g_mutex_lock(&account->lock);
	for (guint i = 0; i < fetch->waits->len; i++) {
		struct fetch_wait *wait = g_ptr_array_index(fetch->waits, i);
		if (wait->length > 0 && !atomic_load(&wait->wait.claimed))
			fetch_fill(account, fetch, wait);
	}
	fetch_end_fulfilled(fetch, true, &ending);
	for (guint i = 0; i < fetch->waits->len; i++) {
		const struct fetch_wait *wait = g_ptr_array_index(fetch->waits, i);
		uint32_t first = fetch_first_chunk(wait), end = fetch_end_chunk(wait, fetch->size);
		for (uint32_t chunk = first; chunk < end; chunk++)
			if ((wait->filled[0] >> (chunk - first) & 1) == 0 && chunk < from) {
				from = chunk;
				to = fetch_end_chunk(wait, fetch->size);
			}
	}
	g_mutex_unlock(&account->lock);
	ending_run(&ending, NULL);
	if (from == UINT32_MAX)
		return false;
	/* Doubling while it is read on; what can't be stored is not fetched ahead. */
	bool reads_on = from == fetch->read_on / BODY_CHUNK && fetch->read_on > 0;
	fetch->window = !fetch->nostore && reads_on ? MIN(fetch->window * 2, WINDOW_MAX) : 1;
	uint64_t end = MIN((uint64_t)MAX(to, from + fetch->window) * BODY_CHUNK, fetch->size);
	*offset_r = (uint64_t)from * BODY_CHUNK;
	*length_r = end - *offset_r;
	fetch->read_on = (end + BODY_CHUNK - 1) / BODY_CHUNK * BODY_CHUNK;
	return true;
}

static bool
run_ranges(struct receive *receive, struct fetch *fetch, struct fault *refusal_r,
           struct fault *fault)
{
	unsigned fruitless = 0;
	receive->range = true;
	while (!fetch->whole && next_range(receive->account, fetch, &receive->origin,
	                                   &receive->length)) {
		receive->gained = fetch->delivered = false;
		uint32_t tag = send_range(receive->worker, fetch, receive->origin, receive->length);
		if (!wait_reply(receive->worker, tag, refusal_r, fault))
			return false;
		if (fetch->delivered)
			fruitless = 0;
		else if (++fruitless == 2)
			fetch->whole = true;
	}
	receive->range = false;
	return true;
}

static bool
run_large(struct receive *receive, struct fetch *fetch, struct fault *refusal_r,
          struct fault *fault)
{
	struct body_info info;
	if (!fetch->size_known) {
		struct cache_view *view = cache_view_begin(receive->account->cache);
		bool known = body_info_get(view, fetch->key, &info) &&
		             (info.complete || info.origin == fetch_origin(fetch));
		cache_view_end(view);
		if (known || fetch->hint_true)
			fetch_sized(receive->account, fetch, known ? info.size : fetch->hint);
		else if (!fetch->whole && !run_probe(receive, fetch, fault))
			return false;
	}
	if (!fetch->whole && fetch->size_known && !run_ranges(receive, fetch, refusal_r, fault))
		return false;
	return !fetch->whole || run_whole(receive, refusal_r, fault);
}

/* Takes what goes into one command. stale: who waits for what is gone. Lock held. */
static void
take_batch(struct account *account, struct mbox *mbox, GPtrArray *batch, struct ending *stale)
{
	uint64_t octets = 0;
	while (mbox->fetches.length > 0 && batch->len < BATCH_MAX) {
		struct fetch *fetch = g_queue_peek_head(&mbox->fetches);
		/* It may stand elsewhere by now, or nowhere. */
		bool there = fetch_locate(account, fetch);
		if (!there || fetch->mailbox != mbox->id) {
			g_queue_pop_head(&mbox->fetches);
			fetch->queued = false;
			if (there) {
				fetch_enqueue(account, fetch);
			} else {
				fetch_end_all(fetch, stale);
				fetch_release(account, fetch);
			}
			continue;
		}
		bool alone = is_large(fetch) || fetch->failures > 0;
		if (batch->len > 0 && (alone || octets + fetch->hint > BATCH_OCTETS_MAX))
			break;
		g_queue_pop_head(&mbox->fetches);
		fetch->queued = false;
		fetch->running = true;
		fetch->delivered = false;
		if (!fetch_lead(account, fetch))
			continue;
		octets += fetch->hint;
		g_ptr_array_add(batch, fetch);
		if (alone)
			break;
	}
	if (mbox->fetches.length > 0)
		work_want_read(account, mbox);
}

/* After a command: who is still waiting is asked for again, alone, and fails when nothing comes of
 * that either. It may have gone, or to another mailbox: before the last time that is found out.
 * Lock held. */
static void
settle(struct account *account, struct fetch *fetch, bool lost, bool gained,
       const struct fault *why, struct ending *failed, struct ending *done)
{
	fetch->running = false;
	fetch_unlead(account, fetch);
	if (fetch->size_known && !fetch->compare)
		fetch_end_fulfilled(fetch, true, done);
	if (fetch->waits->len > 0) {
		if (gained && fetch->delivered)
			fetch->failures = 0;
		else
			fetch->failures++;
		bool hopeless = why->kind == FAULT_GONE || why->kind == FAULT_CANCELLED;
		/* A cut line is nobody's fault at first: the deadlines bound it. */
		unsigned most = lost ? 2 * FAILURES_MAX : FAILURES_MAX;
		if (hopeless || fetch->failures >= most)
			fetch_end_all(fetch, failed);
		else if (!lost && fetch->failures == FAILURES_MAX - 1)
			fetch_await_sync(account, fetch, true);
		else
			fetch_enqueue(account, fetch);
	}
	if (fetch->waits->len == 0)
		fetch->failures = 0;
	fetch_release(account, fetch);
}

/* Takes out what was asked for under another UIDVALIDITY: its UIDs mean other messages now. */
static void
take_renumbered(struct worker *worker, bool all, GPtrArray *batch, GPtrArray *renumbered)
{
	const struct conn_mailbox *mailbox = conn_selected(worker->conn);
	for (guint i = batch->len; i > 0; i--) {
		struct fetch *fetch = g_ptr_array_index(batch, i - 1);
		if (all || mailbox == NULL || fetch->uidvalidity != mailbox->uidvalidity) {
			g_ptr_array_add(renumbered, fetch);
			g_ptr_array_remove_index(batch, i - 1);
		}
	}
}

/* Takes out what is in the cache by now, and answers it. */
static void
take_cached(struct account *account, GPtrArray *batch, GPtrArray *cached, struct ending *done)
{
	for (guint i = batch->len; i > 0; i--) {
		struct fetch *fetch = g_ptr_array_index(batch, i - 1);
		if (fetch_from_cache(account, fetch, done)) {
			g_ptr_array_add(cached, fetch);
			g_ptr_array_remove_index(batch, i - 1);
		}
	}
}

static bool
run_commands(struct worker *worker, struct receive *receive, struct fault *refusal,
             struct fault *fault)
{
	const struct conn_handler handler = receive_handler(receive);
	struct fetch *first = g_ptr_array_index(receive->batch, 0);
	conn_set_handler(worker->conn, &handler);
	bool ok = receive->batch->len == 1 && is_large(first)
	                  ? run_large(receive, first, refusal, fault)
	                  : run_whole(receive, refusal, fault);
	conn_set_handler(worker->conn, NULL);
	return ok;
}

/* A message that the server did not give may be one that this connection has not been told of yet:
 * some look around for what others did at a NOOP alone. */
static bool
look_around(struct worker *worker, const GPtrArray *batch, struct fault *fault)
{
	bool again = false;
	for (guint i = 0; i < batch->len; i++)
		again |= ((const struct fetch *)g_ptr_array_index(batch, i))->failures > 0;
	return !again || conn_selected(worker->conn) == NULL || conn_noop(worker->conn, fault);
}

void
fetch_run(struct worker *worker, struct mbox *mbox)
{
	struct account *account = worker->account;
	struct receive receive;
	struct fault fault = { 0 }, refusal = { 0 }, gone;
	struct ending failed, done, stale;
	GPtrArray *batch = g_ptr_array_new(), *renumbered = g_ptr_array_new(),
		  *cached = g_ptr_array_new();
	ending_init(&failed);
	ending_init(&done);
	ending_init(&stale);
	g_mutex_lock(&account->lock);
	take_batch(account, mbox, batch, &stale);
	g_mutex_unlock(&account->lock);
	bool ok = true;
	receive_init(&receive, worker, batch);
	fetch_presume(account, batch, cached, &stale);
	take_cached(account, batch, cached, &done);
	fetch_judge(account, cached, true, &stale);
	if (batch->len > 0) {
		ok = look_around(worker, batch, &fault) &&
		     line_select(worker, mbox->id, false, false, &fault);
		/* An index that is not in step with a renumbered mailbox will be, soon. */
		bool displaced = !ok && conn_alive(worker->conn) &&
		                 conn_selected(worker->conn) != NULL;
		if (ok || displaced)
			take_renumbered(worker, displaced, batch, renumbered);
		if (batch->len > 0 && ok)
			ok = run_commands(worker, &receive, &refusal, &fault);
		fetch_judge(account, batch, false, &stale);
	}
	if (!ok)
		refusal = fault;
	else if (refusal.kind == FAULT_NONE)
		fault_set(&refusal, FAULT_PROTOCOL, "the server does not give the message");
	fault_set(&gone, FAULT_GONE, "the message is no longer there");
	g_mutex_lock(&account->lock);
	for (guint i = 0; i < renumbered->len; i++) {
		struct fetch *fetch = g_ptr_array_index(renumbered, i);
		fetch_unlead(account, fetch);
		fetch_await_sync(account, fetch, false);
	}
	for (guint i = 0; i < cached->len; i++)
		settle(account, g_ptr_array_index(cached, i), false, true, &refusal, &failed,
		       &done);
	for (guint i = 0; i < batch->len; i++)
		settle(account, g_ptr_array_index(batch, i), !ok, receive.gained, &refusal, &failed,
		       &done);
	g_mutex_unlock(&account->lock);
	if (failed.waits->len > 0)
		log_warn("a message in mailbox %u can't be read: %s", mbox->id, refusal.text);
	ending_run(&done, NULL);
	ending_run(&failed, &refusal);
	ending_run(&stale, &gone);
	receive_release(&receive);
	g_ptr_array_free(batch, TRUE);
	g_ptr_array_free(renumbered, TRUE);
	g_ptr_array_free(cached, TRUE);
}

/* --- the end ------------------------------------------------------------------------------ */

void
fetch_fail_all(struct account *account, const struct fault *fault)
{
	struct ending ending;
	GHashTableIter iter;
	gpointer value;
	ending_init(&ending);
	g_mutex_lock(&account->lock);
	g_hash_table_iter_init(&iter, account->fetches);
	while (g_hash_table_iter_next(&iter, NULL, &value)) {
		struct fetch *fetch = value;
		fetch_end_all(fetch, &ending);
		if (fetch->queued) {
			g_queue_remove(&work_mbox(account, fetch->mailbox)->fetches, fetch);
			g_queue_remove(&work_mbox(account, fetch->mailbox)->displaced, fetch);
			g_ptr_array_remove(account->followers, fetch);
			fetch->queued = false;
		}
		if (fetch->pins == 0 && !fetch->running) {
			g_hash_table_iter_remove(&iter);
			fetch_free(fetch);
		}
	}
	g_mutex_unlock(&account->lock);
	ending_run(&ending, fault);
}

void
fetch_free_all(struct account *account)
{
	GHashTableIter iter;
	gpointer value;
	g_hash_table_iter_init(&iter, account->fetches);
	while (g_hash_table_iter_next(&iter, NULL, &value)) {
		g_hash_table_iter_remove(&iter);
		fetch_free(value);
	}
}
