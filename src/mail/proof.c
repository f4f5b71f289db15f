/* SPDX-License-Identifier: MIT */
/*
 * Whether a mailbox that is like a known one is that one: some of its messages
 * are looked at. UIDVALIDITY and counts alone are no proof, since servers give
 * several mailboxes the same ones; and what is taken for the known mailbox shows
 * its names, and gets the deletions that were meant for its UIDs.
 */
#include "config.h"

#include <string.h>

#include "mail/sync.h"
#include "mail/tree.h"

#define SAMPLE 50u /* messages looked at */

struct proof {
	struct account *account;
	uint32_t space;
	unsigned same, other;
};

static void
on_fetch(void *ctx, const struct imap_response *response)
{
	struct proof *proof = ctx;
	struct message_record record;
	struct imap_fetch fetch;
	if (imap_response_type(response) != IMAP_TYPE_FETCH ||
	    !imap_fetch_decode(response, &fetch) || fetch.uid == 0 || !fetch.has_size ||
	    !fetch.has_internaldate)
		return;
	struct cache_view *view = cache_view_begin(proof->account->cache);
	if (cache_message_by_uid(view, proof->space, fetch.uid, &record)) {
		if (sync_is_another(proof->account, &record, &fetch))
			proof->other++;
		else
			proof->same++;
	}
	cache_view_end(view);
}

/* UIDs from all over the known mailbox. */
static struct seqset *
choose_sample(struct account *account, const struct mailbox_record *known)
{
	struct seqset *sample = seqset_new();
	struct cache_view *view = cache_view_begin(account->cache);
	uint32_t uid = 0, step = MAX(known->messages / SAMPLE, 1);
	for (uint32_t i = 0; cache_uid_next(view, known->space, uid, &uid); i++)
		if (i % step == 0)
			seqset_add(sample, uid);
	cache_view_end(view);
	return sample;
}

static bool
fetch_sample(struct conn *conn, const struct seqset *sample, bool *ok_r, struct fault *fault)
{
	struct conn_reply reply = { 0 };
	GString *set = g_string_new(NULL);
	struct imap_command *command = conn_command(conn, "UID FETCH");
	seqset_format(sample, set);
	imap_command_set(command, set->str);
	imap_command_raw(command, SYNC_KNOWN_ITEMS);
	bool alive = conn_run(conn, command, &reply, fault);
	*ok_r = alive && reply.status == IMAP_STATUS_OK;
	conn_reply_clear(&reply);
	g_string_free(set, TRUE);
	return alive;
}

bool
proof_same(struct tree *tree, uint32_t id, const struct tree_entry *entry, bool *same_r,
           struct fault *fault)
{
	struct conn *conn = tree->worker->conn;
	struct proof proof = { .account = tree->account };
	const struct conn_handler handler = { .ctx = &proof, .untagged = on_fetch };
	struct mailbox_record known = { 0 };
	struct fault refusal = { 0 };
	struct cache_view *view = cache_view_begin(tree->account->cache);
	bool there = cache_mailbox_get(view, id, &known);
	proof.space = known.space;
	struct seqset *sample = there ? choose_sample(tree->account, &known) : seqset_new();
	cache_view_end(view);
	/* Of one without messages nothing can be taken for another's. */
	bool ok = seqset_is_empty(sample), alive = true;
	if (!ok) {
		tree->worker->selected = 0;
		ok = conn_select(conn, entry->raw, entry->raw_len, true, NULL, &refusal);
		conn_set_handler(conn, &handler);
		if (ok)
			alive = fetch_sample(conn, sample, &ok, &refusal);
		alive = alive && conn_alive(conn);
		conn_set_handler(conn, tree->handler);
		ok = ok && proof.same > 0 && proof.other == 0;
	}
	seqset_free(&sample);
	*same_r = ok;
	if (!alive)
		*fault = refusal;
	return alive;
}
