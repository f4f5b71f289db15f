/* SPDX-License-Identifier: MIT */
/* Whether the rows of the index fit together: see cache_check() in cache.h. */
#include "config.h"

#include <string.h>

#include "cache/env.h"

struct check {
	struct cache *cache;
	struct cache_view *view;
	struct octets key, value; /* the row looked at */
};

static bool
bad(const struct check *check, struct fault *fault, const char *table, const char *what)
{
	const unsigned char *key = check->key.data;
	return fault_set(fault, FAULT_CACHE, "index: %s (%u, %u): %s", table,
	                 check->key.len >= 4 ? key_get_u32(key) : 0,
	                 check->key.len >= 8 ? key_get_u32(key + 4) : 0, what);
}

static bool
check_idents(struct check *check, const struct message_record *record, struct fault *fault)
{
	struct ident_keys keys;
	struct octets value;
	ident_keys(record, &keys);
	if ((keys.emailid_len > 0 && !index_get(check->view, check->cache->ident, keys.emailid,
	                                        keys.emailid_len + 8, &value)) ||
	    (keys.header_len > 0 && !index_get(check->view, check->cache->ident, keys.header,
	                                       keys.header_len + 8, &value)))
		return bad(check, fault, "message", "its identity does not lead to it");
	return true;
}

static bool
check_message(struct check *check, struct fault *fault)
{
	struct cache *cache = check->cache;
	struct message_record record;
	struct inode_record inode;
	struct octets reaped;
	unsigned char key[8], named[4 + NAME_OCTETS_MAX], row_space[4];
	const unsigned char *row_key = check->key.data;
	uint32_t recno;
	if (check->key.len != 8 || !message_decode(check->value, &record))
		return bad(check, fault, "message", "no record");
	record.space = key_get_u32(row_key);
	record.recno = key_get_u32(row_key + 4);
	key_u32(row_space, record.space);
	if (record.name_len == 0 || record.name_len > NAME_OCTETS_MAX ||
	    memchr(record.name, '\0', record.name_len) != NULL ||
	    memchr(record.name, '/', record.name_len) != NULL)
		return bad(check, fault, "message", "not a name");
	if (!index_get_id(check->view, cache->uid, key,
	                  index_pair_key(key, record.space, record.uid), &recno) ||
	    recno != record.recno)
		return bad(check, fault, "message", "its UID leads elsewhere");
	if (!index_get_id(check->view, cache->name, named,
	                  index_named_key(named, record.space, record.name, record.name_len),
	                  &recno) || recno != record.recno)
		return bad(check, fault, "message", "its name leads elsewhere");
	/* One of a generation that is being built may have none yet, one of a retired generation
	 * may have lived on elsewhere and be gone there. */
	if (record.ino != 0 && !index_get(check->view, cache->reap, row_space, 4, &reaped) &&
	    (!cache_inode_get(check->view, record.ino, &inode) || !inode.is_message))
		return bad(check, fault, "message", "its inode leads nowhere");
	return check_idents(check, &record, fault);
}

static bool
check_uid(struct check *check, struct fault *fault)
{
	struct message_record record;
	const unsigned char *key = check->key.data;
	if (check->key.len != 8 || check->value.len != 4 ||
	    !cache_message_get(check->view, key_get_u32(key), key_get_u32(check->value.data),
	                       &record) || record.uid != key_get_u32(key + 4))
		return bad(check, fault, "uid", "it leads nowhere");
	return true;
}

static bool
check_name(struct check *check, struct fault *fault)
{
	struct message_record record;
	const unsigned char *key = check->key.data;
	if (check->key.len <= 4 || check->value.len != 4 ||
	    !cache_message_get(check->view, key_get_u32(key), key_get_u32(check->value.data),
	                       &record) ||
	    record.name_len != check->key.len - 4 ||
	    memcmp(record.name, key + 4, record.name_len) != 0)
		return bad(check, fault, "name", "it leads nowhere");
	return true;
}

static bool
check_inode(struct check *check, struct fault *fault)
{
	struct inode_record inode;
	struct message_record message;
	struct mailbox_record mailbox;
	struct tomb_record tomb;
	if (check->key.len != 8 || !inode_decode(check->value, &inode))
		return bad(check, fault, "inode", "no record");
	uint64_t ino = key_get_u64(check->key.data);
	bool known = cache_mailbox_get(check->view, inode.mailbox, &mailbox);
	if (inode.is_message && cache_tomb_get(check->view, ino, &tomb))
		return bad(check, fault, "inode", "it is buried");
	/* What a retired or unborn generation has is no matter of the present one. */
	bool ok = inode.is_message
	                  ? !known ||
	                            !cache_message_get(check->view, mailbox.space, inode.recno,
	                                               &message) || message.ino == ino
	                  : known && mailbox.ino == ino;
	return ok || bad(check, fault, "inode", "it leads nowhere");
}

/* A row of an identity leads to a message or a tombstone. */
static bool
check_ident(struct check *check, struct fault *fault)
{
	struct message_record message;
	struct tomb_record tomb;
	const unsigned char *key = check->key.data;
	if (check->key.len < 10)
		return bad(check, fault, "ident", "no row");
	uint64_t end = key_get_u64(key + check->key.len - 8);
	bool ok = key[0] == 'E' || key[0] == 'H'
	                  ? cache_message_get(check->view, (uint32_t)(end >> 32), (uint32_t)end,
	                                      &message)
	                  : cache_tomb_get(check->view, end, &tomb);
	return ok || bad(check, fault, "ident", "it leads nowhere");
}

static bool
check_tomb(struct check *check, struct fault *fault)
{
	struct tomb_record tomb;
	return (check->key.len == 8 &&
	        cache_tomb_get(check->view, key_get_u64(check->key.data), &tomb) &&
	        tomb.message.ino == key_get_u64(check->key.data)) ||
	       bad(check, fault, "tomb", "no record");
}

static bool
check_mailbox(struct check *check, struct fault *fault)
{
	struct mailbox_record record, parent;
	struct inode_record inode;
	struct octets value;
	unsigned char pair[8];
	uint32_t id;
	if (check->key.len != 4 || !mailbox_decode(check->value, &record))
		return bad(check, fault, "mailbox", "no record");
	record.id = key_get_u32(check->key.data);
	if (!cache_inode_get(check->view, record.ino, &inode) || inode.is_message ||
	    inode.mailbox != record.id)
		return bad(check, fault, "mailbox", "its inode leads elsewhere");
	if (record.raw_len > 0 && (!cache_mailbox_by_raw(check->view, record.raw, record.raw_len,
	                                                 &id) || id != record.id))
		return bad(check, fault, "mailbox", "its raw name leads elsewhere");
	if (record.id == ROOT_MAILBOX)
		return true;
	if (!cache_mailbox_get(check->view, record.parent, &parent))
		return bad(check, fault, "mailbox", "it has no parent");
	if (!cache_mailbox_child(check->view, record.parent, record.name, record.name_len, &id) ||
	    id != record.id ||
	    !index_get(check->view, check->cache->kids, pair,
	               index_pair_key(pair, record.parent, record.id), &value))
		return bad(check, fault, "mailbox", "its parent does not know it");
	return true;
}

/* Rows that lead to a mailbox by its id, behind the parent's in the key or in the value. */
static bool
check_to_mailbox(struct check *check, struct fault *fault)
{
	struct mailbox_record record;
	uint32_t id = UINT32_MAX;
	if (check->value.len == 4)
		id = key_get_u32(check->value.data);
	else if (check->key.len == 8)
		id = key_get_u32((const unsigned char *)check->key.data + 4);
	return cache_mailbox_get(check->view, id, &record) ||
	       bad(check, fault, "child, kids or raw", "it leads nowhere");
}

static bool
check_journal(struct check *check, struct fault *fault)
{
	struct journal_record record;
	return (check->key.len == 8 && journal_decode(check->value, &record)) ||
	       bad(check, fault, "journal", "no record");
}

static bool
check_table(struct check *check, MDB_dbi dbi, bool (*row)(struct check *, struct fault *),
            struct fault *fault)
{
	MDB_cursor *cursor;
	MDB_val key, value;
	bool ok = true;
	int result = mdb_cursor_open(check->view->txn, dbi, &cursor);
	if (result != 0)
		return env_fault(fault, result, "the index can't be read");
	while (ok && (result = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0) {
		check->key = (struct octets){ key.mv_data, key.mv_size };
		check->value = (struct octets){ value.mv_data, value.mv_size };
		ok = row(check, fault);
	}
	mdb_cursor_close(cursor);
	return ok && (result == MDB_NOTFOUND ||
	              env_fault(fault, result, "the index can't be read"));
}

bool
cache_check(struct cache *cache, struct fault *fault)
{
	struct check check = { .cache = cache, .view = cache_view_begin(cache) };
	bool ok = check.view->txn != NULL ||
	          fault_set(fault, FAULT_CACHE, "the index can't be read");
	ok = ok && check_table(&check, cache->mailbox, check_mailbox, fault) &&
	     check_table(&check, cache->child, check_to_mailbox, fault) &&
	     check_table(&check, cache->kids, check_to_mailbox, fault) &&
	     check_table(&check, cache->raw, check_to_mailbox, fault) &&
	     check_table(&check, cache->message, check_message, fault) &&
	     check_table(&check, cache->uid, check_uid, fault) &&
	     check_table(&check, cache->name, check_name, fault) &&
	     check_table(&check, cache->inode, check_inode, fault) &&
	     check_table(&check, cache->ident, check_ident, fault) &&
	     check_table(&check, cache->tomb, check_tomb, fault) &&
	     check_table(&check, cache->journal, check_journal, fault);
	cache_view_end(check.view);
	return ok;
}
