/* SPDX-License-Identifier: MIT */
/*
 * The tree of mailboxes: NAMESPACE and LIST into the index, the quota, and
 * which mailbox is the trash.
 *
 * LIST decides what exists. A mailbox that it leaves out is asked for by name
 * before it goes.
 */
#include "config.h"

#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "imap/names.h"
#include "mail/apply.h"
#include "mail/internal.h"

#define LIST_MAX 200000 /* mailboxes */

struct entry {
	char *raw;
	size_t raw_len;
	char *delimiter;
	uint32_t attrs;
};

struct added {
	uint64_t dir_ino, ino;
	char *name;
	enum account_event_kind kind;
};

struct tree {
	struct worker *worker;
	struct account *account;
	GPtrArray *entries;    /* struct entry */
	GHashTable *seen;      /* ids that LIST named, or that are parents of such */
	GArray *missing;       /* ids that it did not */
	uint64_t quota[2];
	bool has_quota;
	GArray *events;        /* struct added */
};

static void
free_entry(gpointer data)
{
	struct entry *entry = data;
	g_free(entry->raw);
	g_free(entry->delimiter);
	g_free(entry);
}

static void
clear_added(gpointer data)
{
	struct added *added = data;
	g_free(added->name);
}

/* --- listening --------------------------------------------------------------------------- */

static void
take_namespace(struct account *account, const struct imap_response *response)
{
	struct imap_namespaces spaces;
	if (!imap_namespaces_decode(response, &spaces) || spaces.personal_count == 0)
		return;
	const struct imap_namespace_entry *own = &spaces.personal[0];
	g_free(account->prefix);
	g_free(account->delimiter);
	account->prefix = g_strndup(own->prefix, own->prefix_len);
	account->delimiter = g_strndup(own->delimiter, own->delimiter_len);
	account->prefix_known = true;
}

static void
take_quota(struct tree *tree, const struct imap_response *response)
{
	struct imap_quota quota;
	if (!imap_quota_decode(response, &quota))
		return;
	for (unsigned i = 0; i < quota.count; i++)
		if (g_ascii_strcasecmp(quota.resources[i].name, "STORAGE") == 0) {
			tree->quota[0] = quota.resources[i].usage * 1024;
			tree->quota[1] = quota.resources[i].limit * 1024;
			tree->has_quota = true;
		}
}

static void
on_response(void *ctx, const struct imap_response *response)
{
	struct tree *tree = ctx;
	struct imap_list list;
	switch (imap_response_type(response)) {
	case IMAP_TYPE_NAMESPACE:
		take_namespace(tree->account, response);
		break;
	case IMAP_TYPE_QUOTA:
		take_quota(tree, response);
		break;
	case IMAP_TYPE_LIST:
	case IMAP_TYPE_XLIST:
		if (tree->entries->len < LIST_MAX && imap_list_decode(response, &list) &&
		    list.name_len > 0 && memchr(list.name, '\0', list.name_len) == NULL) {
			struct entry *entry = g_new0(struct entry, 1);
			entry->raw = g_strndup(list.name, list.name_len);
			entry->raw_len = list.name_len;
			entry->delimiter = g_strndup(list.delimiter != NULL ? list.delimiter : "",
			                             list.delimiter_len);
			entry->attrs = list.attrs;
			g_ptr_array_add(tree->entries, entry);
		}
		break;
	default:
		break;
	}
}

static bool
list(struct tree *tree, const char *verb, const char *pattern, const char *options, bool *ok_r,
     struct fault *fault)
{
	struct conn_reply reply = { 0 };
	struct imap_command *command = conn_command(tree->worker->conn, verb);
	imap_command_astring(command, "", 0);
	imap_command_astring(command, pattern, strlen(pattern));
	if (options != NULL)
		imap_command_raw(command, options);
	bool alive = conn_run(tree->worker->conn, command, &reply, fault);
	*ok_r = alive && reply.status == IMAP_STATUS_OK;
	if (alive && !*ok_r)
		conn_reply_fault(&reply, fault, "listing the mailboxes");
	conn_reply_clear(&reply);
	return alive;
}

static bool
ask_list(struct tree *tree, struct fault *fault)
{
	struct conn *conn = tree->worker->conn;
	bool ok = false;
	bool special = conn_has(conn, IMAP_CAP_SPECIAL_USE);
	if (special && conn_has(conn, IMAP_CAP_LIST_EXTENDED) &&
	    !list(tree, "LIST", "*", "RETURN (SPECIAL-USE CHILDREN)", &ok, fault))
		return false;
	if (!special && conn_has(conn, IMAP_CAP_XLIST) && !list(tree, "XLIST", "*", NULL, &ok, fault))
		return false;
	/* Options and XLIST are broken here and there: nothing, or a refusal, means the plain way. */
	if ((!ok || tree->entries->len == 0) && !list(tree, "LIST", "*", NULL, &ok, fault))
		return false;
	if (!ok)
		return false;
	/* INBOX may stand outside what `*` shows. */
	return list(tree, "LIST", "INBOX", NULL, &ok, fault);
}

static bool
ask_others(struct tree *tree, struct fault *fault)
{
	struct conn *conn = tree->worker->conn;
	struct conn_reply reply = { 0 };
	bool ok = true;
	if (!tree->account->prefix_known && conn_has(conn, IMAP_CAP_NAMESPACE))
		ok = conn_run(conn, conn_command(conn, "NAMESPACE"), &reply, fault);
	conn_reply_clear(&reply);
	if (ok && conn_has(conn, IMAP_CAP_QUOTA)) {
		struct imap_command *command = conn_command(conn, "GETQUOTAROOT");
		imap_command_mailbox(command, "INBOX", 5);
		ok = conn_run(conn, command, &reply, fault);
		conn_reply_clear(&reply);
	}
	return ok;
}

/* --- into the index: in the writer's thread ----------------------------------------------- */

static void
note(struct tree *tree, enum account_event_kind kind, uint64_t dir_ino, uint64_t ino,
     const char *name)
{
	struct added added = { dir_ino, ino, g_strdup(name), kind };
	g_array_append_val(tree->events, added);
}

/* The number of sub-mailboxes of a directory changed. *ino_r: its inode. */
static bool
count_child(struct cache_txn *txn, uint32_t parent, int delta, uint64_t *ino_r, struct fault *fault)
{
	struct mailbox_record record;
	if (!cache_mailbox_get(cache_txn_view(txn), parent, &record))
		return true;
	record.children = (uint32_t)((int64_t)record.children + delta);
	record.mtime_ns = MAX(record.mtime_ns + 1, clock_real_ns());
	*ino_r = record.ino;
	return txn_mailbox_put(txn, &record, fault);
}

static bool
create_mailbox(struct cache_txn *txn, struct tree *tree, uint32_t parent, const char *name,
               const struct entry *entry, uint32_t *id_r, struct fault *fault)
{
	struct mailbox_record record = {
		.parent = parent, .name = name, .name_len = strlen(name),
		.raw = entry != NULL ? entry->raw : "", .raw_len = entry != NULL ? entry->raw_len : 0,
		.attrs = entry != NULL ? entry->attrs : IMAP_ATTR_NOSELECT | IMAP_ATTR_NONEXISTENT,
		.next_recno = 1, .mtime_ns = clock_real_ns(),
	};
	uint64_t dir_ino = 0;
	if (!txn_mailbox_id_alloc(txn, &record.id, fault) ||
	    !txn_ino_alloc(txn, &record.ino, fault) || !txn_mailbox_put(txn, &record, fault) ||
	    !count_child(txn, parent, 1, &dir_ino, fault))
		return false;
	note(tree, EVENT_MAILBOX_NEW, dir_ino, record.ino, name);
	*id_r = record.id;
	return true;
}

/* One that is known: its attributes, and its raw name if it was but a parent so far. */
static bool
update_mailbox(struct cache_txn *txn, uint32_t id, const struct entry *entry, struct fault *fault)
{
	struct mailbox_record record;
	if (!cache_mailbox_get(cache_txn_view(txn), id, &record))
		return true;
	bool same_raw = record.raw_len == entry->raw_len &&
	                memcmp(record.raw, entry->raw, entry->raw_len) == 0;
	if (!same_raw && record.raw_len > 0 && !imap_name_is_inbox(entry->raw, entry->raw_len)) {
		log_debug("two mailboxes have the name \"%s\"; one is not shown", record.name);
		return true;
	}
	/* LIST "" INBOX comes after LIST "" *, often without its attributes. */
	uint32_t attrs = same_raw ? entry->attrs | (record.attrs & IMAP_USE_MASK) : entry->attrs;
	if (same_raw && attrs == record.attrs)
		return true;
	record.attrs = attrs;
	record.raw = entry->raw;
	record.raw_len = entry->raw_len;
	return txn_mailbox_put(txn, &record, fault);
}

static bool
apply_entry(struct cache_txn *txn, struct tree *tree, const struct entry *entry,
            struct fault *fault)
{
	const struct imap_name_rules rules = {
		.delimiter = entry->delimiter, .delimiter_len = strlen(entry->delimiter),
		.prefix = tree->account->prefix,
		.prefix_len = tree->account->prefix != NULL ? strlen(tree->account->prefix) : 0,
	};
	GPtrArray *parts = g_ptr_array_new_with_free_func(g_free);
	uint32_t id = ROOT_MAILBOX;
	bool ok = true;
	if (!imap_name_split(&rules, entry->raw, entry->raw_len, parts))
		g_ptr_array_set_size(parts, 0);
	for (guint i = 0; ok && i < parts->len; i++) {
		const char *name = g_ptr_array_index(parts, i);
		bool last = i + 1 == parts->len;
		uint32_t parent = id;
		if (!cache_mailbox_child(cache_txn_view(txn), parent, name, strlen(name), &id))
			ok = create_mailbox(txn, tree, parent, name, last ? entry : NULL, &id, fault);
		else if (last)
			ok = update_mailbox(txn, id, entry, fault);
		g_hash_table_add(tree->seen, GUINT_TO_POINTER(id));
	}
	g_ptr_array_free(parts, TRUE);
	return ok;
}

static void
find_missing(struct cache_txn *txn, struct tree *tree)
{
	struct mailbox_record record;
	for (uint32_t id = 0; cache_mailbox_next(cache_txn_view(txn), id, &record); id = record.id)
		if (!g_hash_table_contains(tree->seen, GUINT_TO_POINTER(record.id)))
			g_array_append_val(tree->missing, record.id);
}

static bool
apply_tree(struct cache_txn *txn, void *data, struct fault *fault)
{
	struct tree *tree = data;
	g_array_set_size(tree->events, 0);
	g_array_set_size(tree->missing, 0);
	g_hash_table_remove_all(tree->seen);
	for (guint i = 0; i < tree->entries->len; i++)
		if (!apply_entry(txn, tree, g_ptr_array_index(tree->entries, i), fault))
			return false;
	find_missing(txn, tree);
	if (tree->has_quota &&
	    !txn_meta_put(txn, "quota", tree->quota, sizeof tree->quota, fault))
		return false;
	return txn_meta_put(txn, "tree listed", "yes", 3, fault);
}

/* --- mailboxes that went ------------------------------------------------------------------ */

struct removal {
	struct tree *tree;
	uint32_t id, space;
};

static bool
remove_run(struct cache_txn *txn, void *data, struct fault *fault)
{
	struct removal *removal = data;
	struct mailbox_record record;
	uint64_t dir_ino = 0;
	if (!cache_mailbox_get(cache_txn_view(txn), removal->id, &record) || record.children > 0)
		return true;
	removal->space = record.space;
	uint32_t parent = record.parent;
	uint64_t ino = record.ino;
	char *name = g_strdup(record.name);
	bool ok = txn_mailbox_delete(txn, removal->id, fault) &&
	          count_child(txn, parent, -1, &dir_ino, fault);
	if (ok)
		note(removal->tree, EVENT_MAILBOX_GONE, dir_ino, ino, name);
	g_free(name);
	return ok;
}

/* Whether the server, asked by name, says that it is not there. */
static bool
is_gone(struct tree *tree, uint32_t id, bool *gone_r, struct fault *fault)
{
	struct mailbox_record record;
	struct conn_reply reply = { 0 };
	struct cache_view *view = cache_view_begin(tree->account->cache);
	bool known = cache_mailbox_get(view, id, &record);
	struct imap_command *command = conn_command(tree->worker->conn, "STATUS");
	if (known)
		imap_command_mailbox(command, record.raw, record.raw_len);
	imap_command_raw(command, "(MESSAGES)");
	bool nameless = !known || record.raw_len == 0 || (record.attrs & IMAP_ATTR_NOSELECT) != 0;
	cache_view_end(view);
	if (nameless) {
		imap_command_free(&command);
		*gone_r = known;
		return true;
	}
	bool ok = conn_run(tree->worker->conn, command, &reply, fault);
	/* A NO for another reason than absence is no proof. */
	*gone_r = ok && reply.status == IMAP_STATUS_NO &&
	          (reply.code == IMAP_CODE_NONE || reply.code == IMAP_CODE_NONEXISTENT ||
	           reply.code == IMAP_CODE_TRYCREATE);
	conn_reply_clear(&reply);
	return ok;
}

static bool
remove_missing(struct tree *tree, struct fault *fault)
{
	/* From the last one on, so that children go before their parents. */
	for (guint i = tree->missing->len; i > 0; i--) {
		struct removal removal = { tree, g_array_index(tree->missing, uint32_t, i - 1), 0 };
		bool gone;
		if (!is_gone(tree, removal.id, &gone, fault))
			return false;
		if (!gone)
			continue;
		g_mutex_lock(&tree->account->lock);
		work_mbox(tree->account, removal.id)->gone = true;
		g_mutex_unlock(&tree->account->lock);
		if (!cache_run(tree->account->cache, remove_run, &removal, fault) ||
		    !apply_reap(tree->account, removal.space, fault))
			return false;
	}
	return true;
}

bool
tree_run(struct worker *worker, struct fault *fault)
{
	struct tree tree = { .worker = worker, .account = worker->account };
	const struct conn_handler handler = { .ctx = &tree, .untagged = on_response };
	tree.entries = g_ptr_array_new_with_free_func(free_entry);
	tree.seen = g_hash_table_new(NULL, NULL);
	tree.missing = g_array_new(FALSE, FALSE, sizeof(uint32_t));
	tree.events = g_array_new(FALSE, FALSE, sizeof(struct added));
	g_array_set_clear_func(tree.events, clear_added);
	conn_set_handler(worker->conn, &handler);
	bool ok = ask_others(&tree, fault) && ask_list(&tree, fault);
	conn_set_handler(worker->conn, NULL);
	ok = ok && cache_run(worker->account->cache, apply_tree, &tree, fault) &&
	     remove_missing(&tree, fault);
	for (guint i = 0; i < tree.events->len; i++) {
		const struct added *added = &g_array_index(tree.events, struct added, i);
		account_emit(worker->account, added->kind, added->dir_ino, added->ino, added->name);
	}
	g_ptr_array_free(tree.entries, TRUE);
	g_hash_table_destroy(tree.seen);
	g_array_free(tree.missing, TRUE);
	g_array_free(tree.events, TRUE);
	return ok;
}

/* --- the trash --------------------------------------------------------------------------- */

/* The path of a mailbox as it is shown. */
static void
shown_path(struct cache_view *view, const struct mailbox_record *record, GString *path_r)
{
	struct mailbox_record parent;
	g_string_assign(path_r, record->name);
	for (uint32_t id = record->parent; id != ROOT_MAILBOX; id = parent.parent) {
		if (!cache_mailbox_get(view, id, &parent))
			break;
		g_string_prepend_c(path_r, '/');
		g_string_prepend(path_r, parent.name);
	}
}

bool
mailbox_find_trash(struct account *account, GString *raw_r, uint32_t *id_r)
{
	const char *wanted = account->config.trash;
	struct mailbox_record record;
	GString *path = g_string_new(NULL);
	unsigned best = 0;
	*id_r = 0;
	struct cache_view *view = cache_view_begin(account->cache);
	for (uint32_t id = 0; cache_mailbox_next(view, id, &record); id = record.id) {
		unsigned score = 0;
		if (record.raw_len == 0 || (record.attrs & IMAP_ATTR_NOSELECT) != 0)
			continue;
		shown_path(view, &record, path);
		if (wanted != NULL)
			score = strcmp(path->str, wanted) == 0 ||
			        (record.raw_len == strlen(wanted) &&
			         memcmp(record.raw, wanted, record.raw_len) == 0);
		else if ((record.attrs & IMAP_USE_TRASH) != 0)
			score = UINT32_MAX;
		else if (imap_name_trash_rank(path->str) > 0)
			score = 1000 - MIN(imap_name_trash_rank(path->str), 999);
		if (score > best) {
			best = score;
			*id_r = record.id;
			g_string_truncate(raw_r, 0);
			g_string_append_len(raw_r, record.raw, (gssize)record.raw_len);
		}
	}
	cache_view_end(view);
	g_string_free(path, TRUE);
	return best > 0;
}

bool
mailbox_create_trash(struct worker *worker, GString *raw_r, struct fault *fault)
{
	struct account *account = worker->account;
	struct conn_reply reply = { 0 };
	const char *name = account->config.trash != NULL ? account->config.trash : "Trash";
	const struct imap_name_rules rules = {
		.delimiter = account->delimiter,
		.delimiter_len = account->delimiter != NULL ? strlen(account->delimiter) : 0,
		.prefix = account->prefix,
		.prefix_len = account->prefix != NULL ? strlen(account->prefix) : 0,
	};
	g_string_truncate(raw_r, 0);
	if (!imap_name_child(&rules, "", 0, name, raw_r, fault))
		return false;
	struct imap_command *create = conn_command(worker->conn, "CREATE");
	imap_command_mailbox(create, raw_r->str, raw_r->len);
	bool ok = conn_run(worker->conn, create, &reply, fault);
	ok = ok && (reply.code == IMAP_CODE_ALREADYEXISTS ||
	            conn_reply_fault(&reply, fault, "creating the trash \"%s\"", name));
	conn_reply_clear(&reply);
	if (!ok)
		return false;
	struct imap_command *subscribe = conn_command(worker->conn, "SUBSCRIBE");
	imap_command_mailbox(subscribe, raw_r->str, raw_r->len);
	ok = conn_run(worker->conn, subscribe, &reply, fault);
	conn_reply_clear(&reply);
	log_info("the trash \"%s\" was created", name);
	g_mutex_lock(&account->lock);
	work_want_sync(account, work_mbox(account, ROOT_MAILBOX));
	g_mutex_unlock(&account->lock);
	return ok;
}
