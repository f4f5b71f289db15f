/* SPDX-License-Identifier: MIT */
/*
 * A mailbox that got another UIDVALIDITY: who of the new generation is who of
 * the old one.
 *
 * The new generation has been listed into a space of its own, its messages
 * without inode numbers. Where a message of the old one and one of the new have
 * the same id (EMAILID and the like), they are one by proof. Else they must be
 * the only two with the same header fields, RFC822.SIZE and INTERNALDATE; and if
 * the octets of the old one are in the cache, the whole header sections must be
 * equal, which are fetched for this. Among several that are alike only header
 * sections tell them apart, which must be known of all the old ones. What is left
 * in doubt is a new message: nothing is lost by fetching it.
 *
 * Of one that is not in the cache as a whole a part may be, or be in the kernel's
 * pages, or be read by somebody: its octets are compared with that at its next read
 * (origin.c), and have a body key of their own until then.
 *
 * A message that is carried over keeps inode number, name, place in the listing
 * and body. Everything here may be cut off and done again: what was carried over
 * is recognised by its inode number.
 */
#include "config.h"

#include <string.h>

#include "base/log.h"
#include "cache/body.h"
#include "mail/identity.h"
#include "mail/sync.h"

#define DIGEST 32u
#define STEP   500u /* messages in a transaction, or in a view */
#define TELL_MAX 5000u /* names told one by one */

/* Old and new are one. */
struct pair {
	uint32_t recno, uid;
	bool probable; /* nothing of its header section could be compared */
};

/* A name that the kernel may know as something else: that leads nowhere now, or to something
 * new. */
struct gone {
	uint64_t ino;
	char *name;
	bool is_new;
};

void
renumber_free_gone(gpointer data)
{
	struct gone *gone = data;
	g_free(gone->name);
	g_free(gone);
}

struct renumber {
	struct sync *sync;
	uint32_t old_space, new_space;
	bool by_header;         /* the header sections are there */
	struct seqset *verify;  /* UIDs of the new ones whose header sections are needed */
	GArray *pairs;
	GPtrArray *gone;
	unsigned carried, lost;
};

/* One more than are told says that there are more. A task that is run twice may note it twice. */
static void
note(const struct renumber *renumber, uint64_t ino, const char *name, bool is_new)
{
	if (renumber->gone->len > TELL_MAX)
		return;
	struct gone *gone = g_new(struct gone, 1);
	gone->ino = ino;
	gone->name = g_strdup(name);
	gone->is_new = is_new;
	g_ptr_array_add(renumber->gone, gone);
}

/* --- who is alike ------------------------------------------------------------------------ */

struct group {
	uint32_t old[CACHE_IDENT_MAX], new[CACHE_IDENT_MAX]; /* recnos; UIDs */
	unsigned old_count, new_count;
	bool overflow;
};

static void
find_group(const struct renumber *renumber, struct cache_view *view, enum cache_ident kind,
           const struct message_record *like, struct group *group)
{
	struct cache_place places[CACHE_IDENT_MAX];
	struct message_record other;
	unsigned count = cache_ident_find(view, kind, like, places, CACHE_IDENT_MAX);
	group->old_count = group->new_count = 0;
	group->overflow = count == CACHE_IDENT_MAX;
	for (unsigned i = 0; i < count; i++) {
		bool is_old = places[i].space == renumber->old_space;
		if ((!is_old && places[i].space != renumber->new_space) ||
		    !cache_message_get(view, places[i].space, places[i].recno, &other) ||
		    (kind == CACHE_IDENT_HEADER ? !identity_alike(&other, like)
		                                : identity_differs(&other, like)))
			continue;
		if (is_old)
			group->old[group->old_count++] = other.recno;
		else
			group->new[group->new_count++] = other.uid;
	}
}

static bool
has_body(struct cache_view *view, const struct message_record *record)
{
	struct body_info info;
	return body_info_get(view, message_body_key(record), &info) && info.complete;
}

/* The digest of an old one's header section; false: its octets are not there. */
static bool
old_digest(const struct renumber *renumber, struct cache_view *view, uint32_t recno,
           unsigned char digest[DIGEST])
{
	struct message_record record;
	return cache_message_get(view, renumber->old_space, recno, &record) &&
	       body_header_digest(view, message_body_key(&record), digest);
}

/* How many of the new ones have that header section; *uid_r: the last of them. */
static unsigned
count_new(const struct renumber *renumber, const struct group *group,
          const unsigned char digest[DIGEST], uint32_t *uid_r)
{
	unsigned count = 0;
	for (unsigned i = 0; i < group->new_count; i++) {
		const void *other = g_hash_table_lookup(renumber->sync->digests,
		                                        GUINT_TO_POINTER(group->new[i]));
		if (other != NULL && memcmp(other, digest, DIGEST) == 0) {
			*uid_r = group->new[i];
			count++;
		}
	}
	return count;
}

/* By header sections: the only old one and the only new one that have it. */
static bool
match_headers(const struct renumber *renumber, struct cache_view *view,
              const struct message_record *record, const struct group *group, uint32_t *uid_r)
{
	unsigned char digest[DIGEST], other[DIGEST];
	if (!old_digest(renumber, view, record->recno, digest))
		return false;
	for (unsigned i = 0; i < group->old_count; i++)
		if (group->old[i] != record->recno &&
		    (!old_digest(renumber, view, group->old[i], other) ||
		     memcmp(other, digest, DIGEST) == 0))
			return false;
	return count_new(renumber, group, digest, uid_r) == 1;
}

/* Who a message of the old generation is now. 0: nobody, in doubt, or not known yet. */
static uint32_t
match(struct renumber *renumber, struct cache_view *view, const struct message_record *record,
      bool *probable_r)
{
	struct group group;
	uint32_t uid = 0;
	find_group(renumber, view, CACHE_IDENT_EMAILID, record, &group);
	if (group.old_count == 1 && group.new_count == 1 && !group.overflow)
		return group.new[0];
	find_group(renumber, view, CACHE_IDENT_HEADER, record, &group);
	if (group.old_count == 0 || group.new_count == 0 || group.overflow)
		return 0;
	bool single = group.old_count == 1 && group.new_count == 1;
	if (single && !has_body(view, record)) {
		*probable_r = true;
		return group.new[0];
	}
	if (renumber->by_header)
		return match_headers(renumber, view, record, &group, &uid) ? uid : 0;
	bool cached = true;
	for (unsigned i = 0; cached && i < group.old_count; i++) {
		struct message_record other;
		cached = cache_message_get(view, renumber->old_space, group.old[i], &other) &&
		         has_body(view, &other);
	}
	for (unsigned i = 0; cached && i < group.new_count; i++)
		seqset_add(renumber->verify, group.new[i]);
	return 0;
}

/* --- carrying over: in the writer's thread -------------------------------------------------- */

/* Another message of the new generation has the name: it gives way. */
static bool
free_name(struct cache_txn *txn, const struct renumber *renumber, const struct message_record *old,
          struct fault *fault)
{
	struct cache_view *view = cache_txn_view(txn);
	struct message_record other;
	uint32_t recno;
	if (!cache_name_get(view, renumber->new_space, old->name, old->name_len, &recno))
		return true;
	if (!cache_message_get(view, renumber->new_space, recno, &other))
		return true;
	GString *name = g_string_new(NULL);
	char *taken = g_strdup(other.name);
	apply_free_name(txn, renumber->sync->account, renumber->new_space, taken, name);
	other.name = name->str;
	other.name_len = name->len;
	bool ok = txn_message_put(txn, renumber->sync->id, &other, fault);
	g_string_free(name, TRUE);
	g_free(taken);
	return ok;
}

static bool
carry(struct cache_txn *txn, const struct renumber *renumber, const struct pair *pair,
      struct fault *fault)
{
	struct cache_view *view = cache_txn_view(txn);
	struct message_record old, new;
	uint64_t body = 0;
	bool ok = true;
	if (pair->probable && !txn_ino_alloc(txn, &body, fault))
		return false;
	if (!cache_message_get(view, renumber->old_space, pair->recno, &old) ||
	    !cache_message_by_uid(view, renumber->new_space, pair->uid, &new) || new.ino != 0)
		return true;
	char *keywords = g_strdup(new.keywords), *emailid = g_strdup(new.emailid),
	     *threadid = g_strdup(new.threadid), *labels = g_strdup(new.labels);
	ok = txn_message_delete(txn, &new, fault) &&
	     cache_message_get(view, renumber->old_space, pair->recno, &old) &&
	     free_name(txn, renumber, &old, fault) &&
	     cache_message_get(view, renumber->old_space, pair->recno, &old);
	/* The old record, with what the server says of the new one. */
	if (ok && pair->probable) {
		if ((old.state & MESSAGE_PROBABLE) == 0)
			old.prior = message_body_key(&old);
		old.body = body;
		old.state = (old.state | MESSAGE_PROBABLE) & ~(uint32_t)MESSAGE_SIZE_TRUE;
	}
	bool was_listed = ok && message_listed(&old);
	bool proven_size = ok && (old.state & MESSAGE_SIZE_TRUE) != 0;
	old.space = renumber->new_space;
	old.told = new.told;
	old.mtime = new.mtime;
	memcpy(old.identity, new.identity, sizeof old.identity);
	old.size = proven_size ? old.size : new.size;
	old.uid = new.uid;
	old.flags = new.flags;
	if (ok && was_listed != message_listed(&old))
		note(renumber, old.ino, old.name, !was_listed);
	old.modseq = new.modseq;
	old.keywords = keywords;
	old.keywords_len = strlen(keywords);
	old.emailid = emailid;
	old.threadid = threadid;
	old.labels = labels;
	ok = ok && txn_message_put(txn, renumber->sync->id, &old, fault);
	g_free(keywords);
	g_free(emailid);
	g_free(threadid);
	g_free(labels);
	return ok;
}

struct carry_task {
	const struct renumber *renumber;
	guint from, to;
};

static bool
carry_run(struct cache_txn *txn, void *data, struct fault *fault)
{
	const struct carry_task *task = data;
	for (guint i = task->from; i < task->to; i++)
		if (!carry(txn, task->renumber,
		           &g_array_index(task->renumber->pairs, struct pair, i), fault))
			return false;
	return true;
}

static bool
carry_all(struct renumber *renumber, struct fault *fault)
{
	for (guint at = 0; at < renumber->pairs->len; at += STEP) {
		struct carry_task task = { renumber, at, MIN(at + STEP, renumber->pairs->len) };
		if (!cache_run(renumber->sync->account->cache, carry_run, &task, fault))
			return false;
	}
	renumber->carried += renumber->pairs->len;
	g_array_set_size(renumber->pairs, 0);
	return true;
}

/* --- the old generation --------------------------------------------------------------------- */

/* Whether it was carried over already. */
static bool
is_carried(const struct renumber *renumber, struct cache_view *view,
           const struct message_record *record)
{
	struct message_record new;
	return cache_message_get(view, renumber->new_space, record->recno, &new) &&
	       new.ino == record->ino;
}

/* Goes through the old generation in its order. each: false ends it. */
static bool
walk(struct renumber *renumber,
     bool (*each)(struct renumber *, struct cache_view *, const struct message_record *, void *),
     void *data)
{
	uint32_t uid = 0;
	bool more = true;
	while (more) {
		struct cache_view *view = cache_view_begin(renumber->sync->account->cache);
		struct message_record record;
		for (unsigned i = 0; more && i < STEP; i++) {
			more = cache_uid_next(view, renumber->old_space, uid, &uid);
			if (more && cache_message_by_uid(view, renumber->old_space, uid, &record) &&
			    !is_carried(renumber, view, &record))
				more = each(renumber, view, &record, data);
		}
		cache_view_end(view);
	}
	return true;
}

static bool
match_one(struct renumber *renumber, struct cache_view *view, const struct message_record *record,
          void *data)
{
	(void)data;
	struct pair pair = { .recno = record->recno };
	pair.uid = match(renumber, view, record, &pair.probable);
	if (pair.uid != 0)
		g_array_append_val(renumber->pairs, pair);
	return true;
}

static bool
note_gone(struct renumber *renumber, struct cache_view *view, const struct message_record *record,
          void *data)
{
	(void)view;
	(void)data;
	renumber->lost++;
	if (message_listed(record))
		note(renumber, record->ino, record->name, false);
	return true;
}

/* --- the header sections -------------------------------------------------------------------- */

void
renumber_header(struct sync *sync, const struct imap_fetch *fetch)
{
	gsize len = DIGEST;
	if (fetch->uid == 0 || fetch->header == NULL)
		return;
	guint8 *digest = g_malloc(DIGEST);
	GChecksum *sum = g_checksum_new(G_CHECKSUM_SHA256);
	g_checksum_update(sum, (const guchar *)fetch->header, (gssize)fetch->header_len);
	g_checksum_get_digest(sum, digest, &len);
	g_checksum_free(sum);
	g_hash_table_replace(sync->digests, GUINT_TO_POINTER(fetch->uid), digest);
}

static bool
fetch_headers(struct renumber *renumber, struct fault *fault)
{
	struct seqset *refused = seqset_new();
	renumber->sync->digests = g_hash_table_new_full(NULL, NULL, NULL, g_free);
	bool ok = sync_fetch(renumber->sync, renumber->verify, SYNC_WANT_WHOLE_HEADER, refused,
	                     fault);
	seqset_free(&refused);
	return ok;
}

/* --- those that are new ----------------------------------------------------------------------- */

typedef bool visit_message(struct cache_txn *txn, struct renumber *renumber,
                           struct message_record *record, struct fault *fault);

/* A step through the new generation. */
struct step {
	struct renumber *renumber;
	visit_message *visit;
	uint32_t uid; /* behind this one */
	bool more;
};

static bool
settle_one(struct cache_txn *txn, struct renumber *renumber, struct message_record *record,
           struct fault *fault)
{
	uint32_t uid = record->uid;
	if (record->ino != 0)
		return true;
	struct identity identity = { .name = g_string_new(NULL) };
	bool ok = identity_find(txn, renumber->sync->id, renumber->sync->uidvalidity, record,
	                        &identity, fault);
	uint64_t ino = identity.ino, body = 0;
	ok = ok && (ino != 0 || txn_ino_alloc(txn, &ino, fault)) &&
	     (identity.kind != IDENTITY_PROBABLE || txn_ino_alloc(txn, &body, fault)) &&
	     cache_message_by_uid(cache_txn_view(txn), renumber->new_space, uid, record);
	record->ino = ino;
	record->body = identity.kind == IDENTITY_PROBABLE ? body : identity.body;
	record->prior = identity.prior;
	if (identity.prior != 0)
		record->state |= MESSAGE_PROBABLE;
	g_string_free(identity.name, TRUE);
	if (ok && message_listed(record))
		note(renumber, ino, record->name, true);
	return ok && txn_message_put(txn, renumber->sync->id, record, fault);
}

static bool
step_run(struct cache_txn *txn, void *data, struct fault *fault)
{
	struct step *step = data;
	struct cache_view *view = cache_txn_view(txn);
	struct message_record record;
	uint32_t uid = step->uid;
	uint32_t space = step->renumber->new_space;
	for (unsigned i = 0; i < STEP && cache_uid_next(view, space, uid, &uid); i++)
		if (cache_message_by_uid(view, space, uid, &record) &&
		    !step->visit(txn, step->renumber, &record, fault))
			return false;
	return true;
}

/* The new generation in steps, each a task. That may be run twice: the place is moved on between
 * them. */
static bool
step_through(struct renumber *renumber, visit_message *visit, struct fault *fault)
{
	struct step step = { renumber, visit, 0, true };
	while (step.more) {
		if (!cache_run(renumber->sync->account->cache, step_run, &step, fault))
			return false;
		struct cache_view *view = cache_view_begin(renumber->sync->account->cache);
		for (unsigned i = 0; step.more && i < STEP; i++)
			step.more = cache_uid_next(view, renumber->new_space, step.uid, &step.uid);
		cache_view_end(view);
	}
	return true;
}

/* --- what an earlier try has left ------------------------------------------------------------ */

/* Whether the inode number leads to it, and does so after the switch. */
static bool
is_sound(const struct renumber *renumber, struct cache_view *view,
         const struct message_record *record)
{
	struct inode_record inode;
	return record->ino == 0 ||
	       (cache_inode_get(view, record->ino, &inode) && inode.is_message &&
	        inode.mailbox == renumber->sync->id && inode.recno == record->recno);
}

static bool
reset_one(struct cache_txn *txn, struct renumber *renumber, struct message_record *record,
          struct fault *fault)
{
	if (is_sound(renumber, cache_txn_view(txn), record))
		return true;
	record->ino = record->body = record->prior = 0;
	record->state &= ~(uint32_t)(MESSAGE_HIDDEN | MESSAGE_PROBABLE);
	return txn_message_put(txn, renumber->sync->id, record, fault);
}

/* Meanwhile the old generation may have lost what was carried over: that is nobody yet. */
static bool
reset_unsound(struct renumber *renumber, struct fault *fault)
{
	return !renumber->sync->resumed || step_through(renumber, reset_one, fault);
}

/* --- the whole ------------------------------------------------------------------------------ */

bool
renumber_run(struct sync *sync, GPtrArray *gone, struct fault *fault)
{
	struct renumber renumber = { .sync = sync, .old_space = sync->known_space,
		                     .new_space = sync->space, .gone = gone };
	renumber.verify = seqset_new();
	renumber.pairs = g_array_new(FALSE, FALSE, sizeof(struct pair));
	sync_submit(sync);
	bool ok = cache_flush(sync->account->cache, fault) && reset_unsound(&renumber, fault) &&
	          walk(&renumber, match_one, NULL) && carry_all(&renumber, fault);
	if (ok && !seqset_is_empty(renumber.verify)) {
		renumber.by_header = true;
		ok = fetch_headers(&renumber, fault) && walk(&renumber, match_one, NULL) &&
		     carry_all(&renumber, fault);
	}
	ok = ok && step_through(&renumber, settle_one, fault) && walk(&renumber, note_gone, NULL);
	if (ok)
		log_info("mailbox %u was renumbered: %u messages recognised, %u not", sync->id,
		         renumber.carried, renumber.lost);
	if (sync->digests != NULL)
		g_hash_table_destroy(sync->digests);
	sync->digests = NULL;
	seqset_free(&renumber.verify);
	g_array_free(renumber.pairs, TRUE);
	return ok;
}

void
renumber_tell(struct sync *sync, const GPtrArray *gone)
{
	struct mailbox_record mailbox;
	struct cache_view *view = cache_view_begin(sync->account->cache);
	bool known = cache_mailbox_get(view, sync->id, &mailbox);
	uint64_t dir_ino = known ? mailbox.ino : 0;
	cache_view_end(view);
	if (known && gone->len > TELL_MAX) {
		account_emit(sync->account, EVENT_ENTRIES, dir_ino, 0, NULL);
		known = false;
	}
	for (guint i = 0; known && i < gone->len; i++) {
		const struct gone *one = g_ptr_array_index(gone, i);
		if (!one->is_new)
			account_emit(sync->account, EVENT_MESSAGE_GONE, dir_ino, one->ino,
			             one->name);
		account_emit(sync->account, EVENT_MESSAGE_NEW, dir_ino, one->ino, one->name);
	}
}
