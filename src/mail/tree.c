/* SPDX-License-Identifier: MIT */
/*
 * The tree of mailboxes: NAMESPACE and LIST into the index, and the quota.
 *
 * LIST decides what exists. A mailbox that it leaves out is asked for by name
 * before it goes.
 */
#include "config.h"

#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "mail/tree.h"

#define LIST_MAX 200000 /* mailboxes */

struct event {
	uint64_t dir_ino, ino;
	char *name;
	enum account_event_kind kind;
};

static void
free_entry(gpointer data)
{
	struct tree_entry *entry = data;
	g_free(entry->raw);
	g_free(entry->delimiter);
	g_free(entry->path);
	if (entry->parts != NULL)
		g_ptr_array_free(entry->parts, TRUE);
	g_free(entry);
}

static void
clear_event(gpointer data)
{
	struct event *event = data;
	g_free(event->name);
}

/* --- listening --------------------------------------------------------------------------- */

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
take_entry(struct tree *tree, const struct imap_response *response)
{
	struct imap_list list;
	if (tree->placed || tree->entries->len >= LIST_MAX || !imap_list_decode(response, &list) ||
	    list.name_len == 0 || memchr(list.name, '\0', list.name_len) != NULL)
		return;
	struct tree_entry *entry = g_new0(struct tree_entry, 1);
	/* RFC 3501 5.1: in any case, and some servers have it as `Inbox`. */
	bool inbox = imap_name_is_inbox(list.name, list.name_len);
	entry->raw = inbox ? g_strdup("INBOX") : g_strndup(list.name, list.name_len);
	entry->raw_len = list.name_len;
	entry->delimiter = g_strndup(list.delimiter != NULL ? list.delimiter : "",
	                             list.delimiter_len);
	entry->attrs = list.attrs;
	g_ptr_array_add(tree->entries, entry);
}

static void
on_response(void *ctx, const struct imap_response *response)
{
	struct tree *tree = ctx;
	switch (imap_response_type(response)) {
	case IMAP_TYPE_NAMESPACE:
		mailbox_take_namespace(tree->account, response);
		break;
	case IMAP_TYPE_QUOTA:
		take_quota(tree, response);
		break;
	case IMAP_TYPE_LIST:
	case IMAP_TYPE_XLIST:
		take_entry(tree, response);
		break;
	case IMAP_TYPE_STATUS:
		status_take(tree, response);
		break;
	default:
		break;
	}
}

/* --- asking ------------------------------------------------------------------------------ */

static bool
list(struct tree *tree, const char *verb, const char *pattern, const char *options,
     struct conn_reply *reply_r, struct fault *fault)
{
	struct imap_command *command = conn_command(tree->worker->conn, verb);
	imap_command_astring(command, "", 0);
	imap_command_astring(command, pattern, strlen(pattern));
	if (options != NULL)
		imap_command_raw(command, options);
	bool alive = conn_run(tree->worker->conn, command, reply_r, fault);
	if (alive && reply_r->status != IMAP_STATUS_OK)
		conn_reply_fault(reply_r, fault, "listing the mailboxes");
	return alive;
}

/* With STATUS. *ok_r: it did what it should. */
static bool
list_status(struct tree *tree, bool *ok_r, struct fault *fault)
{
	struct conn *conn = tree->worker->conn;
	unsigned *late = &tree->account->late_lists;
	struct conn_reply reply = { 0 };
	GString *items = status_items(conn);
	GString *options = g_string_new("RETURN (");
	if (conn_has(conn, IMAP_CAP_SPECIAL_USE))
		g_string_append(options, "SPECIAL-USE ");
	g_string_append_printf(options, "CHILDREN STATUS %s)", items->str);
	bool alive = list(tree, "LIST", "*", options->str, &reply, fault);
	*ok_r = alive && reply.status == IMAP_STATUS_OK && tree->entries->len > 0 &&
	        g_hash_table_size(tree->statuses) > 0;
	/* One that only takes too long must not be asked for the same again and again; but once it
	 * may have been the line. */
	*late = alive ? 0 : *late + (fault->kind == FAULT_TIMEOUT);
	bool broken = alive ? reply.status == IMAP_STATUS_BAD ||
	                              (reply.status == IMAP_STATUS_OK && !*ok_r)
	                    : *late > 1;
	if (broken) {
		log_debug("LIST with STATUS does not work here");
		conn_ban(conn, IMAP_CAP_LIST_STATUS);
	}
	conn_reply_clear(&reply);
	g_string_free(items, TRUE);
	g_string_free(options, TRUE);
	return alive;
}

static bool
has_inbox(const struct tree *tree)
{
	for (guint i = 0; i < tree->entries->len; i++) {
		const struct tree_entry *entry = g_ptr_array_index(tree->entries, i);
		if (imap_name_is_inbox(entry->raw, entry->raw_len))
			return true;
	}
	return false;
}

static bool
ask_list(struct tree *tree, struct fault *fault)
{
	struct conn *conn = tree->worker->conn;
	struct conn_reply reply = { 0 };
	bool ok = false;
	bool special = conn_has(conn, IMAP_CAP_SPECIAL_USE);
	if (status_by_list(tree) && !list_status(tree, &ok, fault))
		return false;
	if (!ok && special && conn_has(conn, IMAP_CAP_LIST_EXTENDED)) {
		if (!list(tree, "LIST", "*", "RETURN (SPECIAL-USE CHILDREN)", &reply, fault))
			return false;
		ok = reply.status == IMAP_STATUS_OK;
	}
	if (!special && conn_has(conn, IMAP_CAP_XLIST)) {
		if (!list(tree, "XLIST", "*", NULL, &reply, fault))
			return false;
		ok = reply.status == IMAP_STATUS_OK;
	}
	/* Options and XLIST are broken here and there: nothing, or a refusal, means the plain
	 * way. */
	if (!ok || tree->entries->len == 0) {
		if (!list(tree, "LIST", "*", NULL, &reply, fault))
			return false;
		ok = reply.status == IMAP_STATUS_OK;
	}
	/* INBOX may stand outside what `*` shows. */
	if (ok && !has_inbox(tree) && !list(tree, "LIST", "INBOX", NULL, &reply, fault))
		return false;
	conn_reply_clear(&reply);
	return ok;
}

static bool
ask_others(struct tree *tree, struct fault *fault)
{
	struct conn *conn = tree->worker->conn;
	struct conn_reply reply = { 0 };
	bool ok = mailbox_ask_namespace(tree->worker, fault);
	if (ok && conn_has(conn, IMAP_CAP_QUOTA)) {
		struct imap_command *command = conn_command(conn, "GETQUOTAROOT");
		imap_command_mailbox(command, "INBOX", 5);
		ok = conn_run(conn, command, &reply, fault);
		conn_reply_clear(&reply);
	}
	return ok;
}

/* Splits the names, now that the prefix is known for sure. */
static void
place_entries(struct tree *tree)
{
	g_mutex_lock(&tree->account->lock);
	const char *prefix = tree->account->prefix;
	g_mutex_unlock(&tree->account->lock);
	tree->placed = true;
	for (guint i = 0; i < tree->entries->len; i++) {
		struct tree_entry *entry = g_ptr_array_index(tree->entries, i);
		const struct imap_name_rules rules = {
			.delimiter = entry->delimiter, .delimiter_len = strlen(entry->delimiter),
			.prefix = prefix, .prefix_len = prefix != NULL ? strlen(prefix) : 0,
		};
		tree->tells_uses |= (entry->attrs & IMAP_USE_MASK) != 0;
		entry->parts = g_ptr_array_new_with_free_func(g_free);
		if (!imap_name_split(&rules, entry->raw, entry->raw_len, entry->parts))
			g_ptr_array_set_size(entry->parts, 0);
		GString *path = g_string_new(NULL);
		for (guint k = 0; k < entry->parts->len; k++) {
			if (k > 0) {
				if (!g_hash_table_contains(tree->paths, path->str))
					g_hash_table_insert(tree->paths, g_strdup(path->str), NULL);
				g_string_append_c(path, '/');
			}
			g_string_append(path, g_ptr_array_index(entry->parts, k));
		}
		entry->path = g_string_free(path, FALSE);
		if (entry->parts->len == 0)
			continue;
		if (!g_hash_table_contains(tree->raws, entry->raw))
			g_hash_table_insert(tree->raws, entry->raw, entry);
		if (g_hash_table_lookup(tree->paths, entry->path) == NULL)
			g_hash_table_insert(tree->paths, g_strdup(entry->path), entry);
	}
}

/* --- into the index: in the writer's thread ----------------------------------------------- */

void
tree_note(struct tree *tree, enum account_event_kind kind, uint64_t dir_ino, uint64_t ino,
          const char *name)
{
	struct event event = { dir_ino, ino, g_strdup(name), kind };
	g_array_append_val(tree->events, event);
}

void
tree_emit(struct tree *tree)
{
	for (guint i = 0; i < tree->events->len; i++) {
		const struct event *event = &g_array_index(tree->events, struct event, i);
		account_emit(tree->account, event->kind, event->dir_ino, event->ino, event->name);
	}
	g_array_set_size(tree->events, 0);
}

bool
tree_count_child(struct cache_txn *txn, uint32_t parent, int delta, uint64_t *ino_r,
                 struct fault *fault)
{
	struct mailbox_record record;
	if (!cache_mailbox_get(cache_txn_view(txn), parent, &record))
		return true;
	record.children = (uint32_t)((int64_t)record.children + delta);
	record.mtime_ns = MAX(record.mtime_ns + 1, clock_real_ns());
	*ino_r = record.ino;
	return txn_mailbox_put(txn, &record, fault);
}

bool
tree_create(struct cache_txn *txn, struct tree *tree, uint32_t parent, const char *name,
            const struct tree_entry *entry, uint32_t *id_r, struct fault *fault)
{
	const struct tree_status *status = entry != NULL ? status_get(tree, entry->raw) : NULL;
	struct mailbox_record record = {
		.parent = parent, .name = name, .name_len = strlen(name),
		.raw = entry != NULL ? entry->raw : "",
		.raw_len = entry != NULL ? entry->raw_len : 0,
		.attrs = entry != NULL ? entry->attrs : IMAP_ATTR_NOSELECT | IMAP_ATTR_NONEXISTENT,
		.next_recno = 1, .mtime_ns = clock_real_ns(),
		.mailboxid = status != NULL ? status->mailboxid : "",
	};
	uint64_t dir_ino = 0;
	if (!txn_mailbox_id_alloc(txn, &record.id, fault) ||
	    !txn_ino_alloc(txn, &record.ino, fault) || !txn_mailbox_put(txn, &record, fault) ||
	    !tree_count_child(txn, parent, 1, &dir_ino, fault))
		return false;
	tree_note(tree, EVENT_MAILBOX_NEW, dir_ino, record.ino, name);
	*id_r = record.id;
	return true;
}

/* Whether the record's raw name is in use: by another entry of this listing, or another record. */
static bool
raw_taken(struct cache_txn *txn, const struct tree *tree, const struct mailbox_record *record,
          const struct tree_entry *entry)
{
	uint32_t other;
	char *old = g_strndup(record->raw, record->raw_len);
	bool listed = g_hash_table_contains(tree->raws, old);
	g_free(old);
	return listed || (cache_mailbox_by_raw(cache_txn_view(txn), entry->raw, entry->raw_len,
	                                       &other) && other != record->id);
}

/* One that is known: its attributes, and its raw name if that is another now. */
static bool
update_mailbox(struct cache_txn *txn, struct tree *tree, uint32_t id,
               const struct tree_entry *entry, struct fault *fault)
{
	struct mailbox_record record;
	if (!cache_mailbox_get(cache_txn_view(txn), id, &record))
		return true;
	bool same_raw = record.raw_len == entry->raw_len &&
	                memcmp(record.raw, entry->raw, entry->raw_len) == 0;
	bool inbox = imap_name_is_inbox(entry->raw, entry->raw_len);
	if (!same_raw && record.raw_len > 0 && !inbox && raw_taken(txn, tree, &record, entry)) {
		log_debug("two mailboxes have the name \"%s\"; one is not shown", record.name);
		return true;
	}
	/* LIST "" INBOX comes after LIST "" *, often without its attributes; and a listing that
	 * tells of no use at all was had without the option for it. */
	bool keeps = same_raw && (g_hash_table_contains(tree->seen, GUINT_TO_POINTER(id)) ||
	                          !tree->tells_uses);
	uint32_t attrs = entry->attrs | (keeps ? record.attrs & IMAP_USE_MASK : 0);
	const struct tree_status *status = status_get(tree, entry->raw);
	const char *id_now = status != NULL ? status->mailboxid : "";
	/* What was listed stays what it is: its sync is to find out that this is another one. */
	bool same_id = *id_now == '\0' || g_strcmp0(record.mailboxid, id_now) == 0 ||
	               (record.listed && record.mailboxid != NULL && *record.mailboxid != '\0');
	if (same_raw && same_id && attrs == record.attrs)
		return true;
	if (!same_raw && record.raw_len > 0 && !inbox)
		record.compared_ns = 0;
	record.attrs = attrs;
	record.raw = entry->raw;
	record.raw_len = entry->raw_len;
	if (!same_id)
		record.mailboxid = id_now;
	return txn_mailbox_put(txn, &record, fault);
}

static bool
apply_entry(struct cache_txn *txn, struct tree *tree, const struct tree_entry *entry,
            struct fault *fault)
{
	uint32_t id = ROOT_MAILBOX;
	for (guint i = 0; !entry->gone && i < entry->parts->len; i++) {
		const char *name = g_ptr_array_index(entry->parts, i);
		bool last = i + 1 == entry->parts->len;
		uint32_t parent = id, other;
		struct cache_view *view = cache_txn_view(txn);
		if (cache_mailbox_child(view, parent, name, strlen(name), &id)) {
			if (last && !update_mailbox(txn, tree, id, entry, fault))
				return false;
		} else if (last && cache_mailbox_by_raw(view, entry->raw, entry->raw_len, &other)) {
			log_debug("the mailbox \"%s\" is in the index in another place", name);
			g_hash_table_add(tree->seen, GUINT_TO_POINTER(other));
			return true;
		} else if (!tree_create(txn, tree, parent, name, last ? entry : NULL, &id, fault)) {
			return false;
		}
		g_hash_table_add(tree->seen, GUINT_TO_POINTER(id));
	}
	return true;
}

struct depth {
	uint32_t id;
	unsigned depth;
};

static gint
by_depth(gconstpointer a, gconstpointer b)
{
	const struct depth *x = a, *y = b;
	return (x->depth < y->depth) - (x->depth > y->depth);
}

/* Whether LIST has it as the index does: a mailbox, or a directory without messages. */
static bool
is_listed(const struct tree *tree, const struct mailbox_record *record)
{
	if (!g_hash_table_contains(tree->seen, GUINT_TO_POINTER(record->id)) ||
	    g_hash_table_contains(tree->lost, GUINT_TO_POINTER(record->id)))
		return false;
	if ((record->attrs & IMAP_ATTR_NOSELECT) != 0)
		return record->space == 0;
	char *raw = g_strndup(record->raw, record->raw_len);
	bool listed = record->raw_len == 0 || g_hash_table_contains(tree->raws, raw);
	g_free(raw);
	return listed;
}

/* What LIST left out, or has as a directory while the index has messages, or what could not be
 * selected; children first. */
static void
find_missing(struct cache_txn *txn, struct tree *tree)
{
	struct cache_view *view = cache_txn_view(txn);
	GArray *found = g_array_new(FALSE, FALSE, sizeof(struct depth));
	struct mailbox_record record, parent;
	for (uint32_t id = 0; cache_mailbox_next(view, id, &record); id = record.id) {
		if (record.id == ROOT_MAILBOX || is_listed(tree, &record))
			continue;
		struct depth depth = { record.id, 0 };
		for (uint32_t up = record.parent; up != ROOT_MAILBOX && depth.depth < 1000;
		     up = parent.parent, depth.depth++)
			if (!cache_mailbox_get(view, up, &parent))
				break;
		g_array_append_val(found, depth);
	}
	g_array_sort(found, by_depth);
	for (guint i = 0; i < found->len; i++)
		g_array_append_val(tree->missing, g_array_index(found, struct depth, i).id);
	g_array_free(found, TRUE);
}

static bool
apply_tree(struct cache_txn *txn, void *data, struct fault *fault)
{
	struct tree *tree = data;
	g_array_set_size(tree->events, 0);
	g_array_set_size(tree->missing, 0);
	g_hash_table_remove_all(tree->seen);
	if (!rename_apply(txn, tree, fault))
		return false;
	for (guint i = 0; i < tree->entries->len; i++)
		if (!apply_entry(txn, tree, g_ptr_array_index(tree->entries, i), fault))
			return false;
	find_missing(txn, tree);
	if (tree->has_quota &&
	    !txn_meta_put(txn, "quota", tree->quota, sizeof tree->quota, fault))
		return false;
	return txn_meta_put(txn, "tree listed", "yes", 3, fault);
}

/* --- all of it ---------------------------------------------------------------------------- */

static void
tree_init(struct tree *tree, struct worker *worker)
{
	*tree = (struct tree){ .worker = worker, .account = worker->account };
	tree->entries = g_ptr_array_new_with_free_func(free_entry);
	tree->raws = g_hash_table_new(g_str_hash, g_str_equal);
	tree->paths = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
	tree->statuses = status_table();
	tree->renames = g_ptr_array_new_with_free_func(g_free);
	tree->seen = g_hash_table_new(NULL, NULL);
	tree->lost = g_hash_table_new(NULL, NULL);
	tree->missing = g_array_new(FALSE, FALSE, sizeof(uint32_t));
	tree->events = g_array_new(FALSE, FALSE, sizeof(struct event));
	g_array_set_clear_func(tree->events, clear_event);
}

static void
tree_release(struct tree *tree)
{
	g_ptr_array_free(tree->renames, TRUE);
	g_hash_table_destroy(tree->statuses);
	g_hash_table_destroy(tree->paths);
	g_hash_table_destroy(tree->raws);
	g_ptr_array_free(tree->entries, TRUE);
	g_hash_table_destroy(tree->seen);
	g_hash_table_destroy(tree->lost);
	g_array_free(tree->missing, TRUE);
	g_array_free(tree->events, TRUE);
}

bool
tree_run(struct worker *worker, struct fault *fault)
{
	struct tree tree;
	tree_init(&tree, worker);
	const struct conn_handler handler = { .ctx = &tree, .untagged = on_response };
	tree.handler = &handler;
	status_begin(&tree);
	conn_set_handler(worker->conn, &handler);
	bool ok = ask_others(&tree, fault) && ask_list(&tree, fault) &&
	          status_ask_wanted(&tree, fault);
	if (ok) {
		place_entries(&tree);
		ok = rename_find(&tree, fault) &&
		     cache_run(worker->account->cache, apply_tree, &tree, fault);
	}
	if (ok) {
		rename_done(&tree);
		tree_emit(&tree);
		ok = absent_remove(&tree, fault);
	}
	conn_set_handler(worker->conn, NULL);
	status_decide(&tree, ok);
	tree_release(&tree);
	return ok;
}
