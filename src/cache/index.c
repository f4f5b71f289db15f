/* SPDX-License-Identifier: MIT */
/*
 * The tables of the index, and reading their rows: see cache.h.
 *
 *     meta     name                      value; counters as u64
 *     mailbox  id                        mailbox record
 *     child    parent id, shown name     id
 *     kids     parent id, id             -
 *     raw      raw name (long: digest)   id
 *     message  space, recno              message record
 *     uid      space, UID                recno
 *     name     space, name               recno
 *     inode    inode number              kind, mailbox id, recno
 *     journal  seq                       journal record
 *     reap     space                     -; its rows are to be deleted
 *     ident, tomb                        see ident.c
 */
#include "config.h"

#include <errno.h>
#include <string.h>

#include "cache/env.h"

#define FORMAT       2u
#define FORMAT_FIRST 1u /* without ident and tomb, which are added */
#define UPGRADE_STEP 5000u /* messages in one transaction */

#define TABLE(view, table) \
	(atomic_load_explicit(&(view)->cache, memory_order_relaxed)->table)

/* --- opening --------------------------------------------------------------------------- */

static int
put_root(struct cache *cache, MDB_txn *txn)
{
	struct mailbox_record root = { .ino = ROOT_INO, .raw = "", .name = "", .mtime_ns = 1 };
	struct inode_record inode = { .mailbox = ROOT_MAILBOX };
	GByteArray *buffer = g_byte_array_new();
	unsigned char id[4] = { 0 }, ino[8], row[INODE_ROW];
	mailbox_encode(&root, buffer);
	MDB_val key = VAL(id, 4), value = VAL(buffer->data, buffer->len);
	int result = mdb_put(txn, cache->mailbox, &key, &value, 0);
	g_byte_array_free(buffer, TRUE);
	key_u64(ino, ROOT_INO);
	inode_encode(&inode, row);
	key = VAL(ino, 8);
	value = VAL(row, INODE_ROW);
	return result != 0 ? result : mdb_put(txn, cache->inode, &key, &value, 0);
}

/* A new index: its format, an identity of its own, and the root. */
static int
create(struct cache *cache, MDB_txn *txn)
{
	uint64_t format = FORMAT;
	char *uuid = g_uuid_string_random();
	int result = env_meta_put(txn, cache->meta, "format", &format, sizeof format);
	if (result == 0)
		result = env_meta_put(txn, cache->meta, "uuid", uuid, 36);
	g_free(uuid);
	return result != 0 ? result : put_root(cache, txn);
}

static int
open_tables(struct cache *cache, MDB_txn *txn)
{
	const struct {
		const char *name;
		MDB_dbi *dbi;
	} tables[] = {
		{ "meta", &cache->meta },       { "mailbox", &cache->mailbox },
		{ "child", &cache->child },     { "kids", &cache->kids },
		{ "raw", &cache->raw },         { "message", &cache->message },
		{ "uid", &cache->uid },         { "name", &cache->name },
		{ "inode", &cache->inode },     { "journal", &cache->journal },
		{ "reap", &cache->reap },       { "ident", &cache->ident },
		{ "tomb", &cache->tomb },
	};
	for (size_t i = 0; i < G_N_ELEMENTS(tables); i++) {
		int result = mdb_dbi_open(txn, tables[i].name, MDB_CREATE, tables[i].dbi);
		if (result != 0)
			return result;
	}
	return 0;
}

/* The rows that lead to a message by its identities, if it has any. */
static int
put_idents(struct cache *cache, MDB_txn *txn, const struct message_record *record)
{
	struct ident_keys keys;
	ident_keys(record, &keys);
	MDB_val row = VAL(keys.emailid, keys.emailid_len + 8), none = VAL(NULL, 0);
	int result = keys.emailid_len > 0 ? mdb_put(txn, cache->ident, &row, &none, 0) : 0;
	row = VAL(keys.header, keys.header_len + 8);
	if (result == 0 && keys.header_len > 0)
		result = mdb_put(txn, cache->ident, &row, &none, 0);
	return result;
}

/* The messages at and behind `at`, which moves on. MDB_NOTFOUND: those were the last ones. */
static int
upgrade_some(struct cache *cache, MDB_txn *txn, unsigned char at[8])
{
	MDB_cursor *cursor;
	MDB_val key = VAL(at, 8), value;
	int result = mdb_cursor_open(txn, cache->message, &cursor);
	if (result != 0)
		return result;
	result = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
	for (unsigned i = 0; result == 0 && i < UPGRADE_STEP; i++) {
		struct message_record record;
		if (key.mv_size == 8 &&
		    message_decode((struct octets){ value.mv_data, value.mv_size }, &record)) {
			record.space = key_get_u32(key.mv_data);
			record.recno = key_get_u32((const unsigned char *)key.mv_data + 4);
			result = put_idents(cache, txn, &record);
		}
		if (result == 0)
			result = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
	}
	if (result == 0 && key.mv_size == 8)
		memcpy(at, key.mv_data, 8);
	mdb_cursor_close(cursor);
	return result;
}

/* An index of the first format has all but the identities. What is cut off is done again. */
static int
upgrade(struct cache *cache)
{
	unsigned char at[8] = { 0 };
	uint64_t format = FORMAT;
	int result = 0;
	for (bool more = true; result == 0 && more;) {
		MDB_txn *txn;
		if ((result = mdb_txn_begin(cache->env, NULL, 0, &txn)) != 0)
			break;
		result = upgrade_some(cache, txn, at);
		more = result == 0;
		if (result == MDB_NOTFOUND)
			result = env_meta_put(txn, cache->meta, "format", &format, sizeof format);
		if (result == 0)
			result = mdb_txn_commit(txn);
		else
			mdb_txn_abort(txn);
	}
	return result;
}

int
index_open_tables(struct cache *cache, struct fault *fault)
{
	MDB_txn *txn;
	MDB_stat reap, tomb;
	uint64_t format = 0;
	int result = mdb_txn_begin(cache->env, NULL, 0, &txn);
	if (result != 0) {
		env_fault(fault, result, "the index can't be written");
		return result;
	}
	result = open_tables(cache, txn);
	if (result == 0)
		result = env_meta_get(txn, cache->meta, "format", &format, sizeof format);
	if (result == MDB_NOTFOUND) {
		result = create(cache, txn);
		format = FORMAT;
	}
	if (result == 0 && format != FORMAT && format != FORMAT_FIRST) {
		mdb_txn_abort(txn);
		fault_set(fault, FAULT_CACHE,
		          "the cache was written by another version of imapfs (format %u); use "
		          "that one, remove the cache, or name another with -o cache=DIR",
		          (unsigned)format);
		return EINVAL;
	}
	if (result == 0 && env_meta_get(txn, cache->meta, "uuid", cache->uuid, 36) != 0)
		result = MDB_CORRUPTED;
	if (result == 0 && (result = mdb_stat(txn, cache->reap, &reap)) == 0 &&
	    (result = mdb_stat(txn, cache->tomb, &tomb)) == 0)
		atomic_init(&cache->reaping, reap.ms_entries > 0 || tomb.ms_entries > 0);
	if (result != 0)
		mdb_txn_abort(txn);
	else
		result = mdb_txn_commit(txn);
	if (result == 0 && format == FORMAT_FIRST)
		result = upgrade(cache);
	if (result != 0)
		env_fault(fault, result, "the index can't be opened");
	return result;
}

/* --- keys ------------------------------------------------------------------------------ */

size_t
index_named_key(unsigned char key[4 + NAME_OCTETS_MAX], uint32_t prefix, const char *name,
                size_t len)
{
	key_u32(key, prefix);
	if (len > 0)
		memcpy(key + 4, name, len);
	return len + 4;
}

size_t
index_raw_key(unsigned char key[RAW_KEY_MAX + 1], const char *raw, size_t len)
{
	if (len == 0)
		return 0;
	if (len <= RAW_KEY_MAX) {
		memcpy(key, raw, len);
		return len;
	}
	char *digest = g_compute_checksum_for_data(G_CHECKSUM_SHA256, (const guchar *)raw, len);
	size_t digest_len = strlen(digest);
	memcpy(key, raw, RAW_KEY_MAX - digest_len);
	memcpy(key + RAW_KEY_MAX - digest_len, digest, digest_len);
	key[RAW_KEY_MAX] = 0;
	g_free(digest);
	return RAW_KEY_MAX + 1;
}

size_t
index_pair_key(unsigned char key[8], uint32_t first, uint32_t second)
{
	key_u32(key, first);
	key_u32(key + 4, second);
	return 8;
}

/* --- rows ------------------------------------------------------------------------------ */

bool
index_get(struct cache_view *view, MDB_dbi dbi, void *key_data, size_t len,
          struct octets *value_r)
{
	MDB_val key = VAL(key_data, len), value;
	if (view->txn == NULL || mdb_get(view->txn, dbi, &key, &value) != 0)
		return false;
	*value_r = (struct octets){ value.mv_data, value.mv_size };
	return true;
}

bool
index_get_id(struct cache_view *view, MDB_dbi dbi, void *key, size_t len, uint32_t *id_r)
{
	struct octets value;
	if (!index_get(view, dbi, key, len, &value) || value.len != 4)
		return false;
	*id_r = key_get_u32(value.data);
	return true;
}

/* The first row at or behind a key. */
static bool
get_from(struct cache_view *view, MDB_dbi dbi, MDB_val *key, MDB_val *value_r)
{
	MDB_cursor *cursor;
	if (view->txn == NULL || mdb_cursor_open(view->txn, dbi, &cursor) != 0)
		return false;
	bool found = mdb_cursor_get(cursor, key, value_r, MDB_SET_RANGE) == 0;
	mdb_cursor_close(cursor);
	return found;
}

bool
cache_meta_get(struct cache_view *view, const char *name, struct octets *value_r)
{
	char key[64];
	size_t len = g_strlcpy(key, name, sizeof key);
	return len > 0 && len < sizeof key &&
	       index_get(view, TABLE(view, meta), key, len, value_r);
}

bool
cache_journal_next(struct cache_view *view, uint64_t after, struct journal_record *record_r)
{
	unsigned char from[8];
	MDB_val key = VAL(from, 8), value;
	if (after == UINT64_MAX)
		return false;
	key_u64(from, after + 1);
	if (!get_from(view, TABLE(view, journal), &key, &value) || key.mv_size != 8 ||
	    !journal_decode((struct octets){ value.mv_data, value.mv_size }, record_r))
		return false;
	record_r->seq = key_get_u64(key.mv_data);
	return true;
}

/* --- mailboxes ------------------------------------------------------------------------- */

bool
cache_mailbox_get(struct cache_view *view, uint32_t id, struct mailbox_record *record_r)
{
	unsigned char key[4];
	struct octets value;
	key_u32(key, id);
	if (!index_get(view, TABLE(view, mailbox), key, 4, &value) ||
	    !mailbox_decode(value, record_r))
		return false;
	record_r->id = id;
	return true;
}

bool
cache_mailbox_child(struct cache_view *view, uint32_t parent, const char *name, size_t len,
                    uint32_t *id_r)
{
	unsigned char key[4 + NAME_OCTETS_MAX];
	return len <= NAME_OCTETS_MAX &&
	       index_get_id(view, TABLE(view, child), key, index_named_key(key, parent, name, len),
	                    id_r);
}

bool
cache_mailbox_by_raw(struct cache_view *view, const char *raw, size_t len, uint32_t *id_r)
{
	unsigned char key[RAW_KEY_MAX + 1];
	return len > 0 &&
	       index_get_id(view, TABLE(view, raw), key, index_raw_key(key, raw, len), id_r);
}

bool
cache_mailbox_next(struct cache_view *view, uint32_t after, struct mailbox_record *record_r)
{
	unsigned char from[4];
	MDB_val key = VAL(from, 4), value;
	if (after == UINT32_MAX)
		return false;
	key_u32(from, after + 1);
	if (!get_from(view, TABLE(view, mailbox), &key, &value) || key.mv_size != 4 ||
	    !mailbox_decode((struct octets){ value.mv_data, value.mv_size }, record_r))
		return false;
	record_r->id = key_get_u32(key.mv_data);
	return true;
}

bool
cache_child_next(struct cache_view *view, uint32_t parent, uint32_t after,
                 struct mailbox_record *record_r)
{
	unsigned char from[8];
	while (after != UINT32_MAX) {
		MDB_val key = VAL(from, index_pair_key(from, parent, after + 1)), value;
		if (!get_from(view, TABLE(view, kids), &key, &value) || key.mv_size != 8 ||
		    key_get_u32(key.mv_data) != parent)
			return false;
		after = key_get_u32((const unsigned char *)key.mv_data + 4);
		if (cache_mailbox_get(view, after, record_r))
			return true;
	}
	return false;
}

/* --- messages -------------------------------------------------------------------------- */

bool
cache_inode_get(struct cache_view *view, uint64_t ino, struct inode_record *record_r)
{
	unsigned char key[8];
	struct octets value;
	key_u64(key, ino);
	return index_get(view, TABLE(view, inode), key, 8, &value) &&
	       inode_decode(value, record_r);
}

bool
cache_message_get(struct cache_view *view, uint32_t space, uint32_t recno,
                  struct message_record *record_r)
{
	unsigned char key[8];
	struct octets value;
	if (!index_get(view, TABLE(view, message), key, index_pair_key(key, space, recno),
	               &value) ||
	    !message_decode(value, record_r))
		return false;
	record_r->space = space;
	record_r->recno = recno;
	return true;
}

bool
cache_message_by_uid(struct cache_view *view, uint32_t space, uint32_t uid,
                     struct message_record *record_r)
{
	unsigned char key[8];
	uint32_t recno;
	return index_get_id(view, TABLE(view, uid), key, index_pair_key(key, space, uid), &recno) &&
	       cache_message_get(view, space, recno, record_r);
}

bool
cache_name_get(struct cache_view *view, uint32_t space, const char *name, size_t len,
               uint32_t *recno_r)
{
	unsigned char key[4 + NAME_OCTETS_MAX];
	return len <= NAME_OCTETS_MAX &&
	       index_get_id(view, TABLE(view, name), key, index_named_key(key, space, name, len),
	                    recno_r);
}

bool
cache_message_by_name(struct cache_view *view, uint32_t space, const char *name, size_t len,
                      struct message_record *record_r)
{
	uint32_t recno;
	return cache_name_get(view, space, name, len, &recno) &&
	       cache_message_get(view, space, recno, record_r) &&
	       cache_message_visible(view, record_r);
}

bool
cache_message_by_ino(struct cache_view *view, uint64_t ino, uint32_t *mailbox_r,
                     struct message_record *record_r)
{
	struct inode_record inode;
	struct mailbox_record mailbox;
	if (!cache_inode_get(view, ino, &inode) || !inode.is_message ||
	    !cache_mailbox_get(view, inode.mailbox, &mailbox) ||
	    !cache_message_get(view, mailbox.space, inode.recno, record_r) || record_r->ino != ino)
		return false;
	*mailbox_r = inode.mailbox;
	return true;
}

bool
cache_message_visible(struct cache_view *view, const struct message_record *record)
{
	return message_listed(record) &&
	       !overlay_hidden(atomic_load_explicit(&view->cache, memory_order_relaxed),
	                       record->ino);
}

/* --- walks ----------------------------------------------------------------------------- */

/* A cursor that the view keeps, ready to be placed. */
static int
ready_cursor(struct cache_view *view, MDB_dbi dbi, MDB_cursor **cursor)
{
	if (view->txn == NULL)
		return EIO;
	if (*cursor == NULL)
		return mdb_cursor_open(view->txn, dbi, cursor);
	return view->own ? 0 : mdb_cursor_renew(view->txn, *cursor);
}

void
cache_scan_init(struct cache_scan *scan, struct cache_view *view, uint32_t space, uint32_t from)
{
	*scan = (struct cache_scan){ .view = view, .space = space, .from = from };
	if (view->scanning == scan)
		view->scanning = NULL;
}

/* One cursor serves all scans of a view: it is placed anew when another one has moved it, or when
 * rows may have changed below it. */
static int
scan_step(struct cache_scan *scan, MDB_val *key, MDB_val *value)
{
	struct cache_view *view = scan->view;
	unsigned char from[8];
	int result;
	if (view->scanning == scan && !view->own)
		return mdb_cursor_get(view->messages, key, value, MDB_NEXT);
	view->scanning = NULL;
	if ((result = ready_cursor(view, TABLE(view, message), &view->messages)) != 0)
		return result;
	*key = VAL(from, index_pair_key(from, scan->space, scan->from));
	result = mdb_cursor_get(view->messages, key, value, MDB_SET_RANGE);
	if (result == 0)
		view->scanning = scan;
	return result;
}

bool
cache_scan_next(struct cache_scan *scan, struct message_record *record_r)
{
	MDB_val key, value;
	int result;
	while ((result = scan_step(scan, &key, &value)) == 0) {
		if (key.mv_size != 8)
			break;
		if (key_get_u32(key.mv_data) != scan->space)
			return false;
		if (!message_decode((struct octets){ value.mv_data, value.mv_size }, record_r))
			break;
		record_r->space = scan->space;
		record_r->recno = key_get_u32((const unsigned char *)key.mv_data + 4);
		if (record_r->recno == UINT32_MAX)
			break;
		scan->from = record_r->recno + 1;
		if (cache_message_visible(scan->view, record_r))
			return true;
	}
	scan->failed = result != MDB_NOTFOUND;
	return false;
}

bool
cache_uid_next(struct cache_view *view, uint32_t space, uint32_t after, uint32_t *uid_r)
{
	unsigned char from[8];
	MDB_val key, value;
	int result;
	if (after == UINT32_MAX)
		return false;
	if (view->uids_live && !view->own && view->uids_space == space && view->uids_at == after) {
		result = mdb_cursor_get(view->uids, &key, &value, MDB_NEXT);
	} else {
		if (ready_cursor(view, TABLE(view, uid), &view->uids) != 0)
			return false;
		key = VAL(from, index_pair_key(from, space, after + 1));
		result = mdb_cursor_get(view->uids, &key, &value, MDB_SET_RANGE);
	}
	view->uids_live = false;
	if (result != 0 || key.mv_size != 8 || key_get_u32(key.mv_data) != space)
		return false;
	*uid_r = key_get_u32((const unsigned char *)key.mv_data + 4);
	view->uids_live = true;
	view->uids_space = space;
	view->uids_at = *uid_r;
	return true;
}
