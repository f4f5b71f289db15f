/* SPDX-License-Identifier: MIT */
/* Mailboxes by name: where they are, which one is the trash. */
#include "config.h"

#include <string.h>

#include "base/log.h"
#include "imap/names.h"
#include "mail/internal.h"

void
mailbox_take_namespace(struct account *account, const struct imap_response *response)
{
	struct imap_namespaces spaces;
	if (!imap_namespaces_decode(response, &spaces) || spaces.personal_count == 0)
		return;
	const struct imap_namespace_entry *own = &spaces.personal[0];
	/* `INBOX` for `INBOX.`: else INBOX itself would be the prefix and nothing more. */
	bool cut = own->prefix_len > 0 && own->delimiter_len > 0 &&
	           (own->prefix_len < own->delimiter_len ||
	            memcmp(own->prefix + own->prefix_len - own->delimiter_len, own->delimiter,
	                   own->delimiter_len) != 0);
	char *delimiter = g_strndup(own->delimiter, own->delimiter_len);
	char *prefix = g_strndup(own->prefix, own->prefix_len);
	g_mutex_lock(&account->lock);
	if (!account->prefix_known) {
		account->prefix = g_strconcat(prefix, cut ? delimiter : "", NULL);
		account->delimiter = g_steal_pointer(&delimiter);
		account->prefix_known = true;
	}
	g_mutex_unlock(&account->lock);
	g_free(delimiter);
	g_free(prefix);
}

bool
mailbox_ask_namespace(struct worker *worker, struct fault *fault)
{
	struct account *account = worker->account;
	struct conn_reply reply = { 0 };
	g_mutex_lock(&account->lock);
	bool known = account->prefix_known;
	g_mutex_unlock(&account->lock);
	if (known || !conn_has(worker->conn, IMAP_CAP_NAMESPACE))
		return true;
	bool ok = conn_run(worker->conn, conn_command(worker->conn, "NAMESPACE"), &reply, fault);
	conn_reply_clear(&reply);
	return ok;
}

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

/* Somebody else may have made it since mailboxes were listed; not every server has a code for
 * that. */
static bool
create_trash(struct conn *conn, const GString *raw, const char *name, bool *made_r,
             struct fault *fault)
{
	struct conn_reply reply = { 0 };
	struct fault ignored;
	struct imap_command *create = conn_command(conn, "CREATE");
	imap_command_mailbox(create, raw->str, raw->len);
	bool ok = conn_run(conn, create, &reply, fault);
	*made_r = ok && reply.status == IMAP_STATUS_OK;
	bool there = ok && (*made_r || reply.code == IMAP_CODE_ALREADYEXISTS);
	if (ok && !there)
		conn_reply_fault(&reply, fault, "creating the trash \"%s\"", name);
	conn_reply_clear(&reply);
	if (!ok || there)
		return there;
	struct imap_command *status = conn_command(conn, "STATUS");
	imap_command_mailbox(status, raw->str, raw->len);
	imap_command_raw(status, "(UIDNEXT)");
	there = conn_run(conn, status, &reply, &ignored) && reply.status == IMAP_STATUS_OK;
	conn_reply_clear(&reply);
	return there;
}

bool
mailbox_create_trash(struct worker *worker, GString *raw_r, struct fault *fault)
{
	struct account *account = worker->account;
	struct conn_reply reply = { 0 };
	const char *name = account->config.trash != NULL ? account->config.trash : "Trash";
	/* What was pending is done before the mailboxes are listed. */
	if (!mailbox_ask_namespace(worker, fault))
		return false;
	g_mutex_lock(&account->lock);
	char *delimiter = g_strdup(account->delimiter), *prefix = g_strdup(account->prefix);
	g_mutex_unlock(&account->lock);
	const struct imap_name_rules rules = {
		.delimiter = delimiter, .delimiter_len = delimiter != NULL ? strlen(delimiter) : 0,
		.prefix = prefix, .prefix_len = prefix != NULL ? strlen(prefix) : 0,
	};
	g_string_truncate(raw_r, 0);
	bool named = imap_name_child(&rules, "", 0, name, raw_r, fault);
	g_free(delimiter);
	g_free(prefix);
	if (!named)
		return false;
	bool made;
	if (!create_trash(worker->conn, raw_r, name, &made, fault))
		return false;
	struct imap_command *subscribe = conn_command(worker->conn, "SUBSCRIBE");
	imap_command_mailbox(subscribe, raw_r->str, raw_r->len);
	bool ok = conn_run(worker->conn, subscribe, &reply, fault);
	conn_reply_clear(&reply);
	if (made)
		log_info("the trash \"%s\" was created", name);
	g_mutex_lock(&account->lock);
	work_want_sync(account, work_mbox(account, ROOT_MAILBOX));
	g_mutex_unlock(&account->lock);
	return ok;
}
