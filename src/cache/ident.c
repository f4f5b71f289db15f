/* SPDX-License-Identifier: MIT */
/*
 * Who a message is: rows that lead from an identity to the messages that have
 * it, and the tombstones of messages that vanished (see cache.h).
 *
 *     ident   'E', EMAILID, 0, space, recno            -
 *             'H', header fields' digest, space, recno -
 *             'e', EMAILID, 0, inode number            -   a tombstone's
 *             'h', header fields' digest, inode number -
 *             'c', mailbox, UIDVALIDITY, UID, inode    -   where it was moved to by us
 *     tomb    inode number                             tombstone
 */
#include "config.h"

#include <string.h>

#include "base/clock.h"
#include "cache/env.h"

#define HEADER_OCTETS  16u  /* of the digest: enough to tell messages apart */
#define EMAILID_MAX    255u
#define TOMB_LIFE_NS   (86400 * CLOCK_SEC)
#define TOMB_STEP      2000u /* buried ones forgotten in one transaction */

/* What precedes the message's record in a tombstone. */
struct disk_tomb {
	int64_t buried_ns;
	uint64_t target_uidvalidity;
	uint32_t mailbox, target_mailbox, target_uid, unused;
};

/* --- keys ------------------------------------------------------------------------------ */

static size_t
emailid_key(unsigned char *key, char tag, const char *emailid)
{
	size_t len = emailid != NULL ? strlen(emailid) : 0;
	if (len == 0 || len > EMAILID_MAX)
		return 0;
	key[0] = (unsigned char)tag;
	memcpy(key + 1, emailid, len + 1);
	return len + 2;
}

static size_t
header_key(unsigned char *key, char tag, const unsigned char identity[32])
{
	static const unsigned char none[32];
	if (memcmp(identity, none, sizeof none) == 0)
		return 0;
	key[0] = (unsigned char)tag;
	memcpy(key + 1, identity, HEADER_OCTETS);
	return 1 + HEADER_OCTETS;
}

static size_t
place_key(unsigned char *key, uint32_t mailbox, uint64_t uidvalidity, uint32_t uid)
{
	key[0] = 'c';
	key_u32(key + 1, mailbox);
	key_u64(key + 5, uidvalidity);
	key_u32(key + 13, uid);
	return 17;
}

void
ident_keys(const struct message_record *record, struct ident_keys *keys_r)
{
	keys_r->emailid_len = emailid_key(keys_r->emailid, 'E', record->emailid);
	keys_r->header_len = header_key(keys_r->header, 'H', record->identity);
	unsigned char *ends[] = { keys_r->emailid + keys_r->emailid_len,
		                  keys_r->header + keys_r->header_len };
	for (size_t i = 0; i < G_N_ELEMENTS(ends); i++)
		index_pair_key(ends[i], record->space, record->recno);
}

/* --- looking --------------------------------------------------------------------------- */

static size_t
key_of(unsigned char *key, enum cache_ident kind, bool tomb, const struct message_record *like)
{
	if (kind == CACHE_IDENT_EMAILID)
		return emailid_key(key, tomb ? 'e' : 'E', like->emailid);
	return header_key(key, tomb ? 'h' : 'H', like->identity);
}

/* The last eight octets of the rows that begin with a key. */
static unsigned
find(struct cache_view *view, const unsigned char *prefix, size_t len, uint64_t *found,
     unsigned max)
{
	struct cache *cache = atomic_load_explicit(&view->cache, memory_order_relaxed);
	unsigned char from[IDENT_KEY_MAX];
	MDB_cursor *cursor;
	unsigned count = 0;
	if (len == 0 || view->txn == NULL ||
	    mdb_cursor_open(view->txn, cache->ident, &cursor) != 0)
		return 0;
	memcpy(from, prefix, len);
	MDB_val key = VAL(from, len), value;
	int result = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
	while (result == 0 && count < max && key.mv_size == len + 8 &&
	       memcmp(key.mv_data, prefix, len) == 0) {
		found[count++] = key_get_u64((const unsigned char *)key.mv_data + len);
		result = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
	}
	mdb_cursor_close(cursor);
	return count;
}

unsigned
cache_ident_find(struct cache_view *view, enum cache_ident kind,
                 const struct message_record *like, struct cache_place *places, unsigned max)
{
	unsigned char key[IDENT_KEY_MAX];
	uint64_t found[CACHE_IDENT_MAX];
	unsigned count = find(view, key, key_of(key, kind, false, like), found,
	                      MIN(max, CACHE_IDENT_MAX));
	for (unsigned i = 0; i < count; i++)
		places[i] = (struct cache_place){ (uint32_t)(found[i] >> 32), (uint32_t)found[i] };
	return count;
}

unsigned
cache_tomb_find(struct cache_view *view, enum cache_ident kind, const struct message_record *like,
                uint64_t *inos, unsigned max)
{
	unsigned char key[IDENT_KEY_MAX];
	return find(view, key, key_of(key, kind, true, like), inos, max);
}

bool
cache_tomb_by_place(struct cache_view *view, uint32_t mailbox, uint64_t uidvalidity, uint32_t uid,
                    uint64_t *ino_r)
{
	unsigned char key[IDENT_KEY_MAX];
	return find(view, key, place_key(key, mailbox, uidvalidity, uid), ino_r, 1) == 1;
}

bool
cache_tomb_get(struct cache_view *view, uint64_t ino, struct tomb_record *tomb_r)
{
	struct cache *cache = atomic_load_explicit(&view->cache, memory_order_relaxed);
	unsigned char key[8];
	struct octets value;
	struct disk_tomb disk;
	key_u64(key, ino);
	if (!index_get(view, cache->tomb, key, 8, &value) || value.len < sizeof disk)
		return false;
	memcpy(&disk, value.data, sizeof disk);
	value.data = (const char *)value.data + sizeof disk;
	value.len -= sizeof disk;
	if (!message_decode(value, &tomb_r->message))
		return false;
	tomb_r->message.space = tomb_r->message.recno = 0;
	tomb_r->mailbox = disk.mailbox;
	tomb_r->buried_ns = disk.buried_ns;
	tomb_r->target_mailbox = disk.target_mailbox;
	tomb_r->target_uidvalidity = disk.target_uidvalidity;
	tomb_r->target_uid = disk.target_uid;
	return true;
}

/* --- tombstones ------------------------------------------------------------------------ */

/* The rows of a tombstone beside itself. */
struct tomb_rows {
	unsigned char keys[3][IDENT_KEY_MAX];
	size_t lens[3];
};

static void
tomb_rows(const struct tomb_record *tomb, struct tomb_rows *rows_r)
{
	rows_r->lens[0] = emailid_key(rows_r->keys[0], 'e', tomb->message.emailid);
	rows_r->lens[1] = header_key(rows_r->keys[1], 'h', tomb->message.identity);
	rows_r->lens[2] = tomb->target_uid == 0
	                          ? 0
	                          : place_key(rows_r->keys[2], tomb->target_mailbox,
	                                      tomb->target_uidvalidity, tomb->target_uid);
	for (unsigned i = 0; i < 3; i++) {
		if (rows_r->lens[i] == 0)
			continue;
		key_u64(rows_r->keys[i] + rows_r->lens[i], tomb->message.ino);
		rows_r->lens[i] += 8;
	}
}

bool
txn_message_bury(struct cache_txn *txn, const struct tomb_record *tomb, struct fault *fault)
{
	struct disk_tomb disk = { .buried_ns = clock_real_ns(),
		                  .target_uidvalidity = tomb->target_uidvalidity,
		                  .mailbox = tomb->mailbox, .target_mailbox = tomb->target_mailbox,
		                  .target_uid = tomb->target_uid };
	const struct message_record *message = &tomb->message;
	struct tomb_rows rows;
	unsigned char key[8];
	struct inode_record inode;
	uint64_t ino = message->ino;
	tomb_rows(tomb, &rows);
	key_u64(key, ino);
	g_byte_array_set_size(txn->buffer, 0);
	g_byte_array_append(txn->buffer, (const guint8 *)&disk, sizeof disk);
	message_encode(message, txn->buffer);
	/* Deleting uses neither the buffer nor, after its keys are built, the record. */
	if (!txn_message_delete(txn, message, fault))
		return false;
	if (ino == 0 || cache_inode_get(&txn->view, ino, &inode))
		return true; /* it is none yet, or lives on elsewhere */
	bool ok = txn_tomb_delete(txn, ino, fault) &&
	          txn_put(txn, txn->cache->tomb, key, 8, txn->buffer->data, txn->buffer->len,
	                  fault);
	for (unsigned i = 0; ok && i < 3; i++)
		ok = rows.lens[i] == 0 ||
		     txn_put(txn, txn->cache->ident, rows.keys[i], rows.lens[i], key, 0, fault);
	return ok;
}

bool
txn_tomb_delete(struct cache_txn *txn, uint64_t ino, struct fault *fault)
{
	struct tomb_record tomb;
	struct tomb_rows rows;
	unsigned char key[8];
	if (!cache_tomb_get(&txn->view, ino, &tomb))
		return true;
	tomb_rows(&tomb, &rows);
	key_u64(key, ino);
	bool ok = txn_del(txn, txn->cache->tomb, key, 8, fault);
	for (unsigned i = 0; ok && i < 3; i++)
		ok = rows.lens[i] == 0 ||
		     txn_del(txn, txn->cache->ident, rows.keys[i], rows.lens[i], fault);
	return ok;
}

bool
txn_tombs_expire(struct cache_txn *txn, bool *more_r, struct fault *fault)
{
	uint64_t old[TOMB_STEP];
	unsigned count = 0;
	MDB_cursor *cursor;
	MDB_val key, value;
	int64_t now = clock_real_ns(), before = now - TOMB_LIFE_NS, buried_ns;
	*more_r = false;
	if (mdb_cursor_open(txn->txn, txn->cache->tomb, &cursor) != 0)
		return true;
	while (count < TOMB_STEP && mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0) {
		if (key.mv_size != 8 || value.mv_size < sizeof buried_ns)
			continue;
		memcpy(&buried_ns, value.mv_data, sizeof buried_ns);
		/* Or buried by a clock that went wrong. */
		if (buried_ns < before || buried_ns > now + TOMB_LIFE_NS)
			old[count++] = key_get_u64(key.mv_data);
	}
	mdb_cursor_close(cursor);
	*more_r = count == TOMB_STEP;
	for (unsigned i = 0; i < count; i++)
		if (!txn_tomb_delete(txn, old[i], fault))
			return false;
	return true;
}
