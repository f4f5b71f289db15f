/* SPDX-License-Identifier: MIT */
/*
 * Bringing one mailbox of the index in step with the server.
 *
 *     EXAMINE      with QRESYNC it tells at once what changed and vanished
 *     questions    those that the planner asks (plan.h)
 *     renumbering  if UIDVALIDITY is another one than the index has (renumber.c)
 *     the end      what vanished, then what is new, then the mailbox's values
 *
 * A message that is new here may be one that stood in another mailbox. Before it
 * is shown, that mailbox's removals are looked at, by the same connection: then it
 * is known whether it was moved or copied. Two mailboxes that wait for each other
 * in this way wait for removals alone, which wait for nothing.
 */
#include "config.h"

#include "mail/sync.h"

#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "mail/identity.h"

#define MISMATCHES_MAX 3     /* wrong sums, then QRESYNC isn't believed */
#define REWINDS_MAX    3     /* in vain, then numbers that go back are the server's way */
#define COMPARE_NS     (86400 * CLOCK_SEC)

void
sync_submit(struct sync *sync)
{
	apply_submit(&sync->batch);
	sync->batch = apply_batch_new(sync->account, sync->id, sync->space, sync->uidvalidity,
	                              sync->building);
}

/* --- what the index knows -------------------------------------------------------------------- */

static uint32_t
next_known(void *ctx, uint32_t after, unsigned *flags_r)
{
	const struct sync *sync = ctx;
	struct cache_view *view = cache_view_begin(sync->account->cache);
	struct message_record record;
	uint32_t uid = 0;
	if (!cache_uid_next(view, sync->space, after, &uid))
		uid = 0;
	else if (flags_r != NULL)
		*flags_r = cache_message_by_uid(view, sync->space, uid, &record) ? record.flags : 0;
	cache_view_end(view);
	return uid;
}

/* The plan for the space that is to be brought in step. */
static void
make_plan(struct sync *sync)
{
	struct conn *conn = sync->worker->conn;
	bool fresh = !sync->listed || sync->building;
	g_mutex_lock(&sync->account->lock);
	const struct mbox *mbox = work_mbox(sync->account, sync->id);
	int64_t surplus = fresh ? 0 : mbox->surplus;
	bool miscounted = !fresh && mbox->miscounted;
	g_mutex_unlock(&sync->account->lock);
	struct plan_known known = {
		.listed = !fresh, .compare = sync->depth == SYNC_COMPARE && !fresh,
		.prior = sync->building && sync->known_messages > 0,
		.highestmodseq = fresh ? 0 : sync->known_modseq,
		.uidnext = fresh ? 0 : sync->known_uidnext,
		.count = fresh ? 0 : sync->known_messages,
		.surplus = surplus, .miscounted = miscounted,
		.next = next_known, .ctx = sync,
	};
	unsigned can = 0;
	if (conn_enabled(conn, IMAP_CAP_QRESYNC) && conn_has(conn, IMAP_CAP_QRESYNC) &&
	    !sync->plainly)
		can |= PLAN_CAN_QRESYNC | PLAN_CAN_CONDSTORE;
	if (conn_has(conn, IMAP_CAP_CONDSTORE))
		can |= PLAN_CAN_CONDSTORE;
	plan_free(&sync->plan);
	sync->plan = plan_new(&known, can);
	apply_batch_free(&sync->batch);
	apply_batch_free(&sync->held);
	sync->batch = apply_batch_new(sync->account, sync->id, sync->space, sync->uidvalidity,
	                              sync->building);
	if (!fresh && sync->depth != SYNC_COMPARE)
		sync->held = apply_batch_new(sync->account, sync->id, sync->space,
		                             sync->uidvalidity, false);
}

/* --- life ----------------------------------------------------------------------------------- */

void
sync_init(struct sync *sync, struct worker *worker, uint32_t id, enum sync_depth depth)
{
	*sync = (struct sync){ .worker = worker, .account = worker->account, .id = id,
		               .depth = depth, .began_ns = clock_boot_ns() };
	sync->raw = g_string_new(NULL);
	sync->known_mailboxid = g_string_new(NULL);
	sync->name = g_string_new(NULL);
	sync->wanted = seqset_new();
	sync->got = seqset_new();
	sync->unsized = seqset_new();
	sync->sizes = g_hash_table_new_full(NULL, NULL, NULL, g_free);
}

void
sync_release(struct sync *sync)
{
	plan_free(&sync->plan);
	apply_batch_free(&sync->batch);
	apply_batch_free(&sync->held);
	seqset_free(&sync->wanted);
	seqset_free(&sync->got);
	seqset_free(&sync->unsized);
	g_hash_table_destroy(sync->sizes);
	g_string_free(sync->raw, TRUE);
	g_string_free(sync->known_mailboxid, TRUE);
	g_string_free(sync->name, TRUE);
}

bool
sync_compare_due(const struct account *account, const struct mailbox_record *record)
{
	int64_t now = clock_real_ns();
	return record->listed &&
	       (now - record->compared_ns > COMPARE_NS || record->compared_ns > now ||
	        record->compared_ns < account->suspect_ns);
}

/* What the index has of it. False: it is none that can be selected, which is fine. */
static bool
load(struct sync *sync, bool *compare_due_r)
{
	struct mailbox_record record;
	struct cache_view *view = cache_view_begin(sync->account->cache);
	bool known = cache_mailbox_get(view, sync->id, &record) &&
	             (record.attrs & IMAP_ATTR_NOSELECT) == 0 && record.raw_len > 0;
	if (known) {
		sync->listed = record.listed;
		sync->space = sync->known_space = record.space;
		sync->uidvalidity = sync->known_uidvalidity = record.uidvalidity;
		sync->known_modseq = record.highestmodseq;
		sync->known_uidnext = record.uidnext;
		sync->known_messages = record.messages;
		g_string_assign(sync->known_mailboxid, record.mailboxid);
		g_string_truncate(sync->raw, 0);
		g_string_append_len(sync->raw, record.raw, (gssize)record.raw_len);
		*compare_due_r = sync_compare_due(sync->account, &record);
	}
	cache_view_end(view);
	return known;
}

/* --- selecting ------------------------------------------------------------------------------ */

/* By EXAMINE, or SELECT. */
static bool
open_mailbox(struct sync *sync, bool examine, struct fault *fault)
{
	struct worker *worker = sync->worker;
	uint64_t modseq = plan_qresync(sync->plan);
	const struct conn_handler handler = sync_handler(sync);
	char params[80] = "";
	if (modseq != 0)
		g_snprintf(params, sizeof params,
		           "(QRESYNC (%" G_GUINT64_FORMAT " %" G_GUINT64_FORMAT "))",
		           sync->known_uidvalidity, modseq);
	else if (conn_has(worker->conn, IMAP_CAP_CONDSTORE))
		g_strlcpy(params, "(CONDSTORE)", sizeof params);
	worker->selected = 0;
	worker->synced = false;
	/* Without QRESYNC nothing of this mailbox comes before it is selected. */
	conn_set_handler(worker->conn, modseq != 0 ? &handler : NULL);
	bool ok = conn_select(worker->conn, sync->raw->str, sync->raw->len, examine,
	                      params[0] != '\0' ? params : NULL, fault);
	conn_set_handler(worker->conn, NULL);
	if (ok) {
		worker->selected = sync->id;
		worker->selected_writable = !examine;
	} else if (modseq != 0 && conn_alive(worker->conn) && fault->kind != FAULT_GONE &&
	           fault->kind != FAULT_DENIED && fault->kind != FAULT_BUSY) {
		struct fault first = *fault;
		sync->plainly = true;
		make_plan(sync);
		ok = open_mailbox(sync, examine, fault);
		sync->plainly = false;
		if (ok) {
			conn_ban(worker->conn, IMAP_CAP_QRESYNC);
			log_debug("%s: without QRESYNC from now on", first.text);
		}
	}
	return ok;
}

/* Courier gives a mailbox that was never selected another UIDVALIDITY at each EXAMINE; that of a
 * SELECT stays. It is one that tells no UIDNEXT. */
static bool
settle_uidvalidity(struct sync *sync, struct fault *fault)
{
	const struct conn_mailbox *mailbox = conn_selected(sync->worker->conn);
	bool settled = sync->known_space != 0 ? mailbox->uidvalidity == sync->known_uidvalidity
	                                      : mailbox->uidnext != 0;
	if (settled || sync->account->config.read_only)
		return true;
	make_plan(sync);
	if (open_mailbox(sync, false, fault) || !conn_alive(sync->worker->conn))
		return conn_alive(sync->worker->conn);
	make_plan(sync);
	return open_mailbox(sync, true, fault);
}

/* Without mod-sequences a mailbox that is selected here tells by NOOP whether there are news since
 * a sync that left nothing open. */
static bool
is_unchanged(struct sync *sync, bool *unchanged_r, struct fault *fault)
{
	struct worker *worker = sync->worker;
	const struct conn_mailbox *mailbox = conn_selected(worker->conn);
	*unchanged_r = false;
	if (worker->selected != sync->id || mailbox == NULL || mailbox->stale || !worker->synced ||
	    mailbox->name_len != sync->raw->len ||
	    memcmp(mailbox->name, sync->raw->str, sync->raw->len) != 0 ||
	    mailbox->highestmodseq != 0 || !sync->listed || sync->known_uidnext == 0 ||
	    sync->depth == SYNC_COMPARE || mailbox->uidvalidity != sync->known_uidvalidity)
		return true;
	if (!conn_noop(worker->conn, fault))
		return false;
	*unchanged_r = mailbox->exists_changes == worker->synced_exists &&
	               mailbox->expunges == worker->synced_expunges &&
	               mailbox->fetches == worker->synced_fetches && !mailbox->stale;
	return true;
}

static void
remember_counters(struct sync *sync)
{
	struct worker *worker = sync->worker;
	const struct conn_mailbox *mailbox = conn_selected(worker->conn);
	worker->synced_exists = mailbox->exists_changes;
	worker->synced_expunges = mailbox->expunges;
	worker->synced_fetches = mailbox->fetches;
}

/* --- the end -------------------------------------------------------------------------------- */

static void
note_removed(struct sync *sync)
{
	g_mutex_lock(&sync->account->lock);
	work_mbox(sync->account, sync->id)->removed_ns = sync->began_ns;
	g_cond_broadcast(&sync->account->state);
	g_mutex_unlock(&sync->account->lock);
}

/* A delta whose sum is wrong time and again is not worth having. */
static void
note_mismatch(struct sync *sync, const struct plan_result *result)
{
	/* What was deleted here meanwhile can't add up. */
	if (!result->mismatch || result->recount)
		return;
	g_mutex_lock(&sync->account->lock);
	unsigned count = ++work_mbox(sync->account, sync->id)->mismatches;
	g_mutex_unlock(&sync->account->lock);
	log_info("mailbox %u: what the server says has changed does not add up; its list of UIDs "
	         "was asked for", sync->id);
	if (count >= MISMATCHES_MAX)
		conn_ban(sync->worker->conn, IMAP_CAP_QRESYNC);
}

/* One that the server counts and does not list is no reason to do without the others. */
static void
note_surplus(struct sync *sync, const struct plan_result *result, uint32_t exists)
{
	if (!result->certain)
		return;
	g_mutex_lock(&sync->account->lock);
	struct mbox *mbox = work_mbox(sync->account, sync->id);
	bool other = mbox->surplus != result->surplus;
	mbox->surplus = result->surplus;
	mbox->miscounted |= result->surplus != 0;
	g_mutex_unlock(&sync->account->lock);
	if (other && result->surplus != 0)
		log_warn("mailbox %u: the server counts %u messages and lists %u, however it is "
		         "asked", sync->id, exists, (uint32_t)(exists - result->surplus));
}

static bool
finish_removals(struct sync *sync, const struct plan_result *result, struct fault *fault)
{
	const struct apply_final removals = { .vanished = result->vanished,
		                              .removals_only = true };
	bool ok = apply_finish(&sync->batch, &removals, fault);
	sync->batch = apply_batch_new(sync->account, sync->id, sync->space, sync->uidvalidity,
	                              sync->building);
	if (ok)
		note_removed(sync);
	return ok;
}

/* The arrivals, once it is known what the mailboxes that they may come from have lost. */
static bool
finish_held(struct sync *sync, const struct plan_result *result, struct fault *fault)
{
	bool ok = true;
	if (sync->held == NULL || apply_count(sync->held) == 0)
		return true;
	ok = finish_removals(sync, result, fault);
	GHashTable *mailboxes = g_hash_table_new(NULL, NULL);
	apply_relatives(sync->held, mailboxes);
	ok = ok && relatives_look(sync, mailboxes, fault);
	g_hash_table_destroy(mailboxes);
	if (ok)
		apply_submit(&sync->held);
	return ok;
}

static bool
finish(struct sync *sync, const struct plan_state *state, const char *mailboxid,
       struct fault *fault)
{
	struct plan_result result;
	plan_result(sync->plan, &result);
	note_mismatch(sync, &result);
	if (sync->depth == SYNC_REMOVALS)
		return finish_removals(sync, &result, fault);
	note_surplus(sync, &result, conn_selected(sync->worker->conn)->exists);
	/* What lacks messages is no listing, nor does it replace one. */
	if (!result.certain && (!sync->listed || sync->building))
		return fault_set(fault, FAULT_PROTOCOL,
		                 "mailbox %u: the server has %u messages and does not list as many",
		                 sync->id, state->exists);
	GPtrArray *gone = g_ptr_array_new_with_free_func(renumber_free_gone);
	bool ok = finish_held(sync, &result, fault) &&
	          (!sync->building || renumber_run(sync, gone, fault));
	sync->differences += (unsigned)seqset_count(result.vanished);
	const struct apply_final final = {
		.vanished = result.vanished, .uidvalidity = sync->uidvalidity,
		.uidnext = result.uidnext, .exists = state->exists,
		.highestmodseq = result.highestmodseq,
		.compared = result.compared || !sync->listed || sync->building,
		.recount = result.recount, .mailboxid = mailboxid,
	};
	/* What was meant for the old one must not reach this one, though UIDVALIDITY is the same.
	 * Before, lest it does after an end in between; and after, for what has come meanwhile. */
	ok = ok && (!sync->replaced || change_disown(sync->account, sync->id, fault)) &&
	     apply_finish(&sync->batch, &final, fault) &&
	     (!sync->replaced || change_disown(sync->account, sync->id, fault));
	if (ok) {
		note_removed(sync);
		renumber_tell(sync, gone);
	}
	g_ptr_array_free(gone, TRUE);
	return ok;
}

/* The space is another one if the server has another UIDVALIDITY, or another mailbox with the same
 * one under that name. */
static bool
take_uidvalidity(struct sync *sync, const struct conn_mailbox *mailbox, struct fault *fault)
{
	bool other = line_other_mailbox(mailbox, sync->known_mailboxid->str);
	uint64_t uidvalidity = mailbox->uidvalidity;
	if (sync->known_space != 0 && uidvalidity == sync->known_uidvalidity && !other)
		return true;
	sync->uidvalidity = uidvalidity;
	sync->replaced = other && sync->listed;
	if (!apply_space(sync->account, sync->id, uidvalidity,
	                 sync->replaced ? mailbox->mailboxid : NULL, &sync->space, fault))
		return false;
	sync->building = sync->listed;
	sync->resumed = sync->building && next_known(sync, 0, NULL) != 0;
	if (sync->building)
		log_info("mailbox %u: the server has renumbered it", sync->id);
	make_plan(sync);
	return true;
}

/* UIDNEXT or HIGHESTMODSEQ went back: it may be another mailbox of that name, or one from a backup,
 * with the same UIDs for other messages. So everything is compared. */
static void
watch_rewind(struct sync *sync, const struct plan_state *state)
{
	bool back = (state->uidnext != 0 && state->uidnext < sync->known_uidnext) ||
	            (state->highestmodseq != 0 && state->highestmodseq < sync->known_modseq);
	if (!back || sync->building || !sync->listed || sync->depth != SYNC_DELTA)
		return;
	g_mutex_lock(&sync->account->lock);
	sync->rewound = work_mbox(sync->account, sync->id)->rewinds < REWINDS_MAX;
	g_mutex_unlock(&sync->account->lock);
	if (!sync->rewound)
		return;
	log_info("mailbox %u: the server's numbers went back; all is compared", sync->id);
	sync->depth = SYNC_COMPARE;
	make_plan(sync);
}

static void
note_rewind(struct sync *sync)
{
	if (!sync->rewound)
		return;
	g_mutex_lock(&sync->account->lock);
	struct mbox *mbox = work_mbox(sync->account, sync->id);
	mbox->rewinds = sync->others > 0 ? 0 : mbox->rewinds + 1;
	g_mutex_unlock(&sync->account->lock);
}

/* One pass. *compare_due_r: a comparison of everything should follow. */
bool
sync_pass(struct sync *sync, bool *compare_due_r, struct fault *fault)
{
	struct worker *worker = sync->worker;
	bool unchanged = false;
	*compare_due_r = false;
	if (!load(sync, compare_due_r))
		return true;
	if (!is_unchanged(sync, &unchanged, fault))
		return false;
	if (unchanged) {
		note_removed(sync);
		return true;
	}
	if (!sync->listed && sync->depth == SYNC_DELTA && !relatives_look_all(sync, fault))
		return false;
	apply_begin(sync->account, sync->id);
	make_plan(sync);
	if (!open_mailbox(sync, true, fault) || !settle_uidvalidity(sync, fault))
		return false;
	const struct conn_mailbox *mailbox = conn_selected(worker->conn);
	const struct plan_state state = { mailbox->highestmodseq, mailbox->uidnext,
		                          mailbox->exists };
	char *mailboxid = g_strdup(mailbox->mailboxid);
	if (sync->depth == SYNC_REMOVALS &&
	    (mailbox->uidvalidity != sync->known_uidvalidity ||
	     line_other_mailbox(mailbox, sync->known_mailboxid->str))) {
		g_free(mailboxid);
		return true; /* a whole sync is to deal with that */
	}
	const struct conn_handler handler = sync_handler(sync);
	bool ok = take_uidvalidity(sync, mailbox, fault);
	if (ok) {
		watch_rewind(sync, &state);
		plan_selected(sync->plan, &state);
		conn_set_handler(worker->conn, &handler);
		/* What is heard from here on may be too late for this pass. */
		remember_counters(sync);
		ok = sync_ask_all(sync, fault);
		ok = ok && finish(sync, &state, mailboxid, fault);
		if (ok)
			note_rewind(sync);
		if (worker->selected == sync->id)
			worker->synced = ok && sync->depth != SYNC_REMOVALS && !sync->missed;
		conn_set_handler(worker->conn, NULL);
	}
	g_free(mailboxid);
	return ok;
}

/* --- whether the index ended well ----------------------------------------------------------- */

struct ended {
	bool running;
	int64_t suspect_ns;
};

static bool
note_running(struct cache_txn *txn, void *data, struct fault *fault)
{
	const struct ended *ended = data;
	return txn_meta_put(txn, "running", "yes", ended->running ? 3 : 0, fault) &&
	       txn_meta_put(txn, "suspect", &ended->suspect_ns, sizeof ended->suspect_ns, fault);
}

/* After an end that was none all mailboxes are compared, whenever they are next looked at. */
void
sync_note_start(struct account *account)
{
	struct ended ended = { .running = true };
	struct octets value;
	struct fault fault;
	struct cache_view *view = cache_view_begin(account->cache);
	if (cache_meta_get(view, "suspect", &value) && value.len == sizeof ended.suspect_ns)
		memcpy(&ended.suspect_ns, value.data, sizeof ended.suspect_ns);
	if (cache_meta_get(view, "running", &value) && value.len > 0)
		ended.suspect_ns = clock_real_ns();
	cache_view_end(view);
	account->suspect_ns = ended.suspect_ns;
	if (!cache_run(account->cache, note_running, &ended, &fault))
		log_error("%s", fault.text);
}

void
sync_note_end(struct account *account)
{
	struct ended ended = { .suspect_ns = account->suspect_ns };
	cache_run(account->cache, note_running, &ended, NULL);
}

/* --- the whole ------------------------------------------------------------------------------ */

/* What still differs after a sync is what syncs have missed. */
static void
tell_differences(const struct sync *sync)
{
	if (sync->depth == SYNC_COMPARE && sync->differences > 0)
		log_info("mailbox %u was compared with the server: %u difference%s mended",
		         sync->id, sync->differences, sync->differences == 1 ? "" : "s");
}

bool
sync_run(struct worker *worker, struct mbox *mbox, struct fault *fault)
{
	struct sync sync;
	bool due;
	sync_init(&sync, worker, mbox->id, SYNC_DELTA);
	bool ok = sync_pass(&sync, &due, fault);
	due &= sync.depth != SYNC_COMPARE;
	if (ok)
		tell_differences(&sync);
	sync_release(&sync);
	if (!ok || !due)
		return ok;
	sync_init(&sync, worker, mbox->id, SYNC_COMPARE);
	ok = sync_pass(&sync, &due, fault);
	if (ok)
		tell_differences(&sync);
	sync_release(&sync);
	return ok;
}
