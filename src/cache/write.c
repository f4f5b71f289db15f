/* SPDX-License-Identifier: MIT */
/*
 * Writing the rows of the index: see cache.h, and index.c for the tables. What
 * is to be written may lie in the database itself, in a page that the first
 * write moves: so it is encoded, and the keys are built, before that.
 */
#include "config.h"

#include <string.h>

#include "cache/env.h"

#define REAP_STEP 2000u /* messages in one transaction */

bool
txn_put(struct cache_txn *txn, MDB_dbi dbi, void *key_data, size_t key_len, void *data, size_t len,
        struct fault *fault)
{
	MDB_val key = VAL(key_data, key_len), value = VAL(data, len);
	int result = mdb_put(txn->txn, dbi, &key, &value, 0);
	txn->puts++;
	return result == 0 || env_fault(fault, result, "the index can't be written");
}

bool
txn_del(struct cache_txn *txn, MDB_dbi dbi, void *key_data, size_t key_len, struct fault *fault)
{
	MDB_val key = VAL(key_data, key_len);
	int result = mdb_del(txn->txn, dbi, &key, NULL);
	txn->puts++;
	return result == 0 || result == MDB_NOTFOUND ||
	       env_fault(fault, result, "the index can't be written");
}

/* A row that must not lead elsewhere already. */
static bool
put_id(struct cache_txn *txn, MDB_dbi dbi, void *key_data, size_t key_len, uint32_t id,
       const char *what, struct fault *fault)
{
	unsigned char row[4];
	key_u32(row, id);
	MDB_val key = VAL(key_data, key_len), value = VAL(row, 4);
	int result = mdb_put(txn->txn, dbi, &key, &value, MDB_NOOVERWRITE);
	txn->puts++;
	if (result == MDB_KEYEXIST) {
		if (value.mv_size == 4 && key_get_u32(value.mv_data) == id)
			return true;
		return fault_set(fault, FAULT_EXISTS, "cache: %s is taken", what);
	}
	return result == 0 || env_fault(fault, result, "the index can't be written");
}

/* Deletes a row if it leads to `id`. */
static bool
del_id(struct cache_txn *txn, MDB_dbi dbi, void *key, size_t key_len, uint32_t id,
       struct fault *fault)
{
	uint32_t present;
	return !index_get_id(&txn->view, dbi, key, key_len, &present) || present != id ||
	       txn_del(txn, dbi, key, key_len, fault);
}

static bool
put_inode(struct cache_txn *txn, uint64_t ino, const struct inode_record *inode,
          struct fault *fault)
{
	unsigned char key[8], row[INODE_ROW];
	key_u64(key, ino);
	inode_encode(inode, row);
	return txn_put(txn, txn->cache->inode, key, 8, row, INODE_ROW, fault);
}

static bool
same(const char *a, size_t a_len, const char *b, size_t b_len)
{
	return a_len == b_len && (a_len == 0 || memcmp(a, b, a_len) == 0);
}

/* --- mailboxes ------------------------------------------------------------------------- */

/* The keys under which a mailbox is found. */
struct mailbox_keys {
	uint32_t id;
	unsigned char id_key[4], kid[8], ino[8];
	unsigned char child[4 + NAME_OCTETS_MAX], raw[RAW_KEY_MAX + 1];
	size_t child_len, raw_len; /* raw_len 0: no raw name */
};

static bool
mailbox_keys(const struct mailbox_record *record, struct mailbox_keys *keys_r, struct fault *fault)
{
	if (record->name_len > NAME_OCTETS_MAX || record->raw_len > RAW_OCTETS_MAX)
		return fault_set(fault, FAULT_INVALID, "cache: a mailbox name is too long");
	keys_r->id = record->id;
	key_u32(keys_r->id_key, record->id);
	key_u64(keys_r->ino, record->ino);
	index_pair_key(keys_r->kid, record->parent, record->id);
	keys_r->child_len = index_named_key(keys_r->child, record->parent, record->name,
	                                    record->name_len);
	keys_r->raw_len = index_raw_key(keys_r->raw, record->raw, record->raw_len);
	return true;
}

static bool
del_mailbox_rows(struct cache_txn *txn, struct mailbox_keys *keys, struct fault *fault)
{
	struct cache *cache = txn->cache;
	return del_id(txn, cache->child, keys->child, keys->child_len, keys->id, fault) &&
	       txn_del(txn, cache->kids, keys->kid, 8, fault) &&
	       (keys->raw_len == 0 ||
	        del_id(txn, cache->raw, keys->raw, keys->raw_len, keys->id, fault)) &&
	       txn_del(txn, cache->inode, keys->ino, 8, fault);
}

static bool
put_mailbox_rows(struct cache_txn *txn, const struct mailbox_record *record,
                 struct mailbox_keys *keys, struct fault *fault)
{
	struct cache *cache = txn->cache;
	struct inode_record inode = { .mailbox = record->id };
	if (record->id != ROOT_MAILBOX &&
	    (!put_id(txn, cache->child, keys->child, keys->child_len, keys->id,
	             "the mailbox's shown name", fault) ||
	     !txn_put(txn, cache->kids, keys->kid, 8, keys->kid, 0, fault)))
		return false;
	return (keys->raw_len == 0 || put_id(txn, cache->raw, keys->raw, keys->raw_len, keys->id,
	                                     "the mailbox's name", fault)) &&
	       put_inode(txn, record->ino, &inode, fault);
}

bool
txn_mailbox_put(struct cache_txn *txn, const struct mailbox_record *record, struct fault *fault)
{
	struct mailbox_record old;
	struct mailbox_keys keys, old_keys;
	if (!mailbox_keys(record, &keys, fault))
		return false;
	bool known = cache_mailbox_get(&txn->view, record->id, &old);
	bool moved = !known || old.parent != record->parent || old.ino != record->ino ||
	             !same(old.name, old.name_len, record->name, record->name_len) ||
	             !same(old.raw, old.raw_len, record->raw, record->raw_len);
	if (known && moved && !mailbox_keys(&old, &old_keys, fault))
		return false;
	g_byte_array_set_size(txn->buffer, 0);
	mailbox_encode(record, txn->buffer);
	if (known && moved && !del_mailbox_rows(txn, &old_keys, fault))
		return false;
	if (moved && !put_mailbox_rows(txn, record, &keys, fault))
		return false;
	return txn_put(txn, txn->cache->mailbox, keys.id_key, 4, txn->buffer->data,
	               txn->buffer->len, fault);
}

bool
txn_mailbox_delete(struct cache_txn *txn, uint32_t id, struct fault *fault)
{
	struct mailbox_record record;
	struct mailbox_keys keys;
	if (!cache_mailbox_get(&txn->view, id, &record))
		return true;
	return mailbox_keys(&record, &keys, fault) && del_mailbox_rows(txn, &keys, fault) &&
	       txn_del(txn, txn->cache->mailbox, keys.id_key, 4, fault);
}

/* --- messages -------------------------------------------------------------------------- */

struct message_keys {
	unsigned char key[8], uid[8], ino[8], name[4 + NAME_OCTETS_MAX];
	size_t name_len;
	struct ident_keys ident;
};

static bool
message_keys(const struct message_record *record, struct message_keys *keys_r,
             struct fault *fault)
{
	if (record->name_len == 0 || record->name_len > NAME_OCTETS_MAX)
		return fault_set(fault, FAULT_INVALID, "cache: a message's name has %zu octets",
		                 record->name_len);
	index_pair_key(keys_r->key, record->space, record->recno);
	index_pair_key(keys_r->uid, record->space, record->uid);
	key_u64(keys_r->ino, record->ino);
	keys_r->name_len = index_named_key(keys_r->name, record->space, record->name,
	                                   record->name_len);
	ident_keys(record, &keys_r->ident);
	return true;
}

/* Whether the inode number leads to another record than (space, recno). */
static bool
lives_elsewhere(struct cache_view *view, uint64_t ino, uint32_t space, uint32_t recno)
{
	struct message_record record;
	uint32_t mailbox;
	return cache_message_by_ino(view, ino, &mailbox, &record) &&
	       (record.space != space || record.recno != recno);
}

/* Forgets the inode number, unless another record has it. */
static bool
del_message_inode(struct cache_txn *txn, uint64_t ino, uint32_t space, uint32_t recno,
                  struct fault *fault)
{
	unsigned char key[8];
	key_u64(key, ino);
	return ino == 0 || lives_elsewhere(&txn->view, ino, space, recno) ||
	       txn_del(txn, txn->cache->inode, key, 8, fault);
}

/* The rows of one kind of identity, from what they were to what they shall be. */
static bool
move_ident(struct cache_txn *txn, unsigned char *old, size_t old_len, unsigned char *new,
           size_t new_len, struct fault *fault)
{
	if (same((const char *)old, old_len, (const char *)new, new_len))
		return true;
	return (old_len == 0 || txn_del(txn, txn->cache->ident, old, old_len + 8, fault)) &&
	       (new_len == 0 || txn_put(txn, txn->cache->ident, new, new_len + 8, new, 0, fault));
}

bool
txn_message_put(struct cache_txn *txn, uint32_t mailbox, const struct message_record *record,
                struct fault *fault)
{
	struct cache *cache = txn->cache;
	struct message_record old;
	struct message_keys keys, old_keys;
	struct inode_record inode = { true, mailbox, record->recno };
	if (!message_keys(record, &keys, fault))
		return false;
	bool known = cache_message_get(&txn->view, record->space, record->recno, &old);
	bool new_name = !known || !same(old.name, old.name_len, record->name, record->name_len);
	bool new_uid = !known || old.uid != record->uid;
	bool new_ino = !known || old.ino != record->ino;
	if (known && !message_keys(&old, &old_keys, fault))
		return false;
	if (!known)
		old_keys.ident.emailid_len = old_keys.ident.header_len = 0;
	uint64_t old_ino = known ? old.ino : 0;
	g_byte_array_set_size(txn->buffer, 0);
	message_encode(record, txn->buffer);
	if (known && new_uid && !del_id(txn, cache->uid, old_keys.uid, 8, record->recno, fault))
		return false;
	if (new_ino && !del_message_inode(txn, old_ino, record->space, record->recno, fault))
		return false;
	if (known && new_name &&
	    !del_id(txn, cache->name, old_keys.name, old_keys.name_len, record->recno, fault))
		return false;
	if (new_uid && !put_id(txn, cache->uid, keys.uid, 8, record->recno, "the UID", fault))
		return false;
	if (new_name && !put_id(txn, cache->name, keys.name, keys.name_len, record->recno,
	                        "the message's name", fault))
		return false;
	if (new_ino && key_get_u64(keys.ino) != 0 &&
	    !put_inode(txn, key_get_u64(keys.ino), &inode, fault))
		return false;
	if (!move_ident(txn, old_keys.ident.emailid, old_keys.ident.emailid_len, keys.ident.emailid,
	                keys.ident.emailid_len, fault) ||
	    !move_ident(txn, old_keys.ident.header, old_keys.ident.header_len, keys.ident.header,
	                keys.ident.header_len, fault))
		return false;
	return txn_put(txn, cache->message, keys.key, 8, txn->buffer->data, txn->buffer->len,
	               fault);
}

bool
txn_message_delete(struct cache_txn *txn, const struct message_record *record, struct fault *fault)
{
	struct cache *cache = txn->cache;
	struct message_keys keys;
	uint32_t space = record->space, recno = record->recno;
	uint64_t ino = record->ino;
	return message_keys(record, &keys, fault) &&
	       del_id(txn, cache->name, keys.name, keys.name_len, recno, fault) &&
	       del_id(txn, cache->uid, keys.uid, 8, recno, fault) &&
	       del_message_inode(txn, ino, space, recno, fault) &&
	       move_ident(txn, keys.ident.emailid, keys.ident.emailid_len, NULL, 0, fault) &&
	       move_ident(txn, keys.ident.header, keys.ident.header_len, NULL, 0, fault) &&
	       txn_del(txn, cache->message, keys.key, 8, fault);
}

/* --- spaces ---------------------------------------------------------------------------- */

/* One of a space that is no longer wanted. */
static bool
discard(struct cache_txn *txn, const struct message_record *record, struct fault *fault)
{
	struct tomb_record tomb = { .message = *record };
	struct inode_record inode;
	struct tomb_record later; /* of the place that it had moved to */
	if (cache_tomb_get(&txn->view, record->ino, &later))
		return txn_message_delete(txn, record, fault);
	if (cache_inode_get(&txn->view, record->ino, &inode))
		tomb.mailbox = inode.mailbox;
	return txn_message_bury(txn, &tomb, fault);
}

/* Up to `max` messages of a space; *more_r: there are others left. */
static bool
space_delete(struct cache_txn *txn, uint32_t space, unsigned max, bool *more_r,
             struct fault *fault)
{
	struct message_record record;
	uint32_t uid;
	*more_r = false;
	while (cache_uid_next(&txn->view, space, 0, &uid)) {
		if (max-- == 0) {
			*more_r = true;
			return true;
		}
		if (cache_message_by_uid(&txn->view, space, uid, &record)) {
			if (!discard(txn, &record, fault))
				return false;
			continue;
		}
		unsigned char key[8]; /* a row that leads nowhere must not stop the walk */
		if (!txn_del(txn, txn->cache->uid, key, index_pair_key(key, space, uid), fault))
			return false;
	}
	return true;
}

bool
txn_space_retire(struct cache_txn *txn, uint32_t space, struct fault *fault)
{
	unsigned char key[4];
	if (space == 0)
		return true;
	key_u32(key, space);
	if (!txn_put(txn, txn->cache->reap, key, 4, key, 0, fault))
		return false;
	/* Should the transaction not be committed, the writer looks in vain, which does no harm. */
	atomic_store(&txn->cache->reaping, true);
	return true;
}

bool
txn_reap(struct cache_txn *txn, bool *more_r, struct fault *fault)
{
	MDB_cursor *cursor;
	MDB_val key, value;
	if (mdb_cursor_open(txn->txn, txn->cache->reap, &cursor) != 0)
		return true;
	bool found = mdb_cursor_get(cursor, &key, &value, MDB_FIRST) == 0 && key.mv_size == 4;
	uint32_t space = found ? key_get_u32(key.mv_data) : 0;
	mdb_cursor_close(cursor);
	if (!found)
		return txn_tombs_expire(txn, more_r, fault);
	bool left;
	unsigned char done[4];
	key_u32(done, space);
	*more_r = true;
	return space_delete(txn, space, REAP_STEP, &left, fault) &&
	       (left || txn_del(txn, txn->cache->reap, done, 4, fault));
}

bool
txn_name_free(struct cache_txn *txn, uint32_t space, const char *name, size_t len)
{
	unsigned char key[4 + NAME_OCTETS_MAX];
	struct octets value;
	return len <= NAME_OCTETS_MAX &&
	       !index_get(&txn->view, txn->cache->name, key,
	                  index_named_key(key, space, name, len), &value);
}

/* --- numbers, journal, values ---------------------------------------------------------- */

bool
txn_meta_put(struct cache_txn *txn, const char *name, const void *data, size_t len,
             struct fault *fault)
{
	char key[64];
	size_t name_len = g_strlcpy(key, name, sizeof key);
	if (name_len == 0 || name_len >= sizeof key)
		return fault_set(fault, FAULT_INVALID, "cache: no name for a value: %s", name);
	g_byte_array_set_size(txn->buffer, 0);
	if (len > 0)
		g_byte_array_append(txn->buffer, data, (guint)len);
	return txn_put(txn, txn->cache->meta, key, name_len, txn->buffer->data, len, fault);
}

static bool
count_up(struct cache_txn *txn, const char *name, uint64_t first, uint64_t last,
         uint64_t *value_r, struct fault *fault)
{
	uint64_t value = first - 1;
	struct octets stored;
	if (cache_meta_get(&txn->view, name, &stored) && stored.len == sizeof value)
		memcpy(&value, stored.data, sizeof value);
	if (value >= last)
		return fault_set(fault, FAULT_CACHE, "cache: no number is left for: %s", name);
	value++;
	if (!txn_meta_put(txn, name, &value, sizeof value, fault))
		return false;
	*value_r = value;
	return true;
}

bool
txn_ino_alloc(struct cache_txn *txn, uint64_t *ino_r, struct fault *fault)
{
	return count_up(txn, "last inode", ROOT_INO + 1, UINT64_MAX >> 2, ino_r, fault);
}

static bool
count_up_32(struct cache_txn *txn, const char *name, uint32_t *value_r, struct fault *fault)
{
	uint64_t value = 0;
	if (!count_up(txn, name, 1, UINT32_MAX - 1, &value, fault))
		return false;
	*value_r = (uint32_t)value;
	return true;
}

bool
txn_mailbox_id_alloc(struct cache_txn *txn, uint32_t *id_r, struct fault *fault)
{
	return count_up_32(txn, "last mailbox", id_r, fault);
}

bool
txn_space_alloc(struct cache_txn *txn, uint32_t *space_r, struct fault *fault)
{
	return count_up_32(txn, "last space", space_r, fault);
}

bool
txn_journal_put(struct cache_txn *txn, const struct journal_record *record, struct fault *fault)
{
	unsigned char key[8];
	key_u64(key, record->seq);
	g_byte_array_set_size(txn->buffer, 0);
	journal_encode(record, txn->buffer);
	return txn_put(txn, txn->cache->journal, key, 8, txn->buffer->data, txn->buffer->len,
	               fault);
}

bool
txn_journal_delete(struct cache_txn *txn, uint64_t seq, struct fault *fault)
{
	unsigned char key[8];
	key_u64(key, seq);
	return txn_del(txn, txn->cache->journal, key, 8, fault);
}
