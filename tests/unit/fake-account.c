/* SPDX-License-Identifier: MIT */
/* An account without a server: see fake-account.h. */
#include "config.h"

#include "fake-account.h"

#include <glib.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "cache/body.h"
#include "imap/response.h"

struct fake_switches *fake;

enum parked_kind { PARKED_LISTING, PARKED_FETCH, PARKED_SYNC, PARKED_REFRESH };

struct parked {
	enum parked_kind kind;
	bool is_open;
	uint64_t step;
	struct wait *wait;
};

struct account {
	struct account_config config;
	struct cache *cache;
	pthread_mutex_t lock;
	GPtrArray *parked;
	GThread *thread;
	atomic_bool stopping;
};

struct fake_switches *
fake_switches_new(void)
{
	struct fake_switches *switches = mmap(NULL, sizeof *switches, PROT_READ | PROT_WRITE,
	                                      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (switches == MAP_FAILED)
		return NULL;
	atomic_store(&switches->fetch_goes, true);
	atomic_store(&switches->sync_goes, true);
	return switches;
}

char *
fake_body(uint32_t mailbox, uint32_t n, size_t size)
{
	GString *text = g_string_new(NULL);
	g_string_printf(text, "From: a%u@example.org\r\nSubject: message %u of %u\r\n\r\n", n, n,
	                mailbox);
	while (text->len < size)
		g_string_append_printf(text, "%zu line of message %u\r\n", text->len, n);
	text->str[size] = '\0';
	return g_string_free(text, FALSE);
}

/* --- filling the cache ----------------------------------------------------------------- */

static bool
put_mailbox(struct cache_txn *txn, uint32_t id, uint32_t parent, const char *name, uint32_t attrs,
            bool listed, struct fault *fault)
{
	struct mailbox_record record = {
		.id = id, .parent = parent, .raw = name, .raw_len = strlen(name), .name = name,
		.name_len = strlen(name), .attrs = attrs, .listed = listed, .next_recno = 1,
		.mtime_ns = 1700000000 * CLOCK_SEC + 5, .uidvalidity = 4711,
	};
	uint32_t got;
	if (!txn_mailbox_id_alloc(txn, &got, fault) || got != id ||
	    !txn_ino_alloc(txn, &record.ino, fault))
		return false;
	if ((attrs & IMAP_ATTR_NOSELECT) == 0 && !txn_space_alloc(txn, &record.space, fault))
		return false;
	record.children = id == FAKE_ARCHIVE ? 1 : 0;
	return txn_mailbox_put(txn, &record, fault);
}

static bool
put_tree(struct cache_txn *txn, void *data, struct fault *fault)
{
	struct mailbox_record root;
	(void)data;
	if (!cache_mailbox_get(cache_txn_view(txn), ROOT_MAILBOX, &root))
		return false;
	root.raw = root.name = root.mailboxid = "";
	root.children = 3;
	root.listed = true;
	return put_mailbox(txn, FAKE_INBOX, 0, "INBOX", 0, true, fault) &&
	       put_mailbox(txn, FAKE_ARCHIVE, 0, "Archive", IMAP_ATTR_NOSELECT, false, fault) &&
	       put_mailbox(txn, FAKE_2024, FAKE_ARCHIVE, "2024", 0, true, fault) &&
	       put_mailbox(txn, FAKE_SLOW, 0, "Slow", 0, false, fault) &&
	       txn_mailbox_put(txn, &root, fault);
}

bool
fake_fill_tree(struct cache *cache)
{
	struct fault fault = { 0 };
	return cache_run(cache, put_tree, NULL, &fault);
}

struct fill {
	uint32_t mailbox, n;
	const struct fake_message *message;
	uint64_t ino;
};

static bool
put_message(struct cache_txn *txn, void *data, struct fault *fault)
{
	struct fill *fill = data;
	const char *name = fill->message->name;
	uint32_t n = fill->n;
	struct mailbox_record mailbox;
	if (!cache_mailbox_get(cache_txn_view(txn), fill->mailbox, &mailbox))
		return false;
	struct message_record record = {
		.space = mailbox.space, .recno = n, .uid = n, .flags = n % 2 ? 1 : 5,
		.size = fill->message->hint, .mtime = 1400000000 + n,
		.ctime_ns = (1500000000 + n) * CLOCK_SEC + 7, .name = name,
		.name_len = strlen(name), .keywords = n % 2 ? "" : "work",
		.keywords_len = n % 2 ? 0 : 4, .emailid = n == 1 ? "E1" : "", .threadid = "",
		.labels = "",
	};
	bool ok = txn_ino_alloc(txn, &record.ino, fault) &&
	          txn_message_put(txn, fill->mailbox, &record, fault);
	fill->ino = record.ino;
	return ok;
}

uint64_t
fake_fill_message(struct cache *cache, uint32_t mailbox, uint32_t n,
                  const struct fake_message *message)
{
	struct fault fault = { 0 };
	struct fill fill = { .mailbox = mailbox, .n = n, .message = message };
	if (!cache_run(cache, put_message, &fill, &fault))
		return 0;
	if (message->cached) {
		char *body = fake_body(mailbox, n, message->size);
		bool put = body_put(cache, fill.ino, n, body, message->size, &fault);
		g_free(body);
		if (!put)
			return 0;
	}
	return fill.ino;
}

/* --- life ------------------------------------------------------------------------------ */

/* The true octets of a message: 1.5 times the hint where that is odd. */
static void
end_fetch(struct account *account, struct fetch_wait *fetch, bool is_open)
{
	struct message_record record;
	struct fault fault;
	uint32_t mailbox;
	struct cache_view *view = cache_view_begin(account->cache);
	bool found = cache_message_by_ino(view, fetch->ino, &mailbox, &record);
	uint32_t n = record.uid;
	size_t size = record.size % 2 ? record.size + record.size / 2 : record.size;
	cache_view_end(view);
	if (!found || atomic_load(&fake->fetch_fails)) {
		fault_set(&fault, found ? FAULT_TIMEOUT : FAULT_GONE, "no answer");
		wait_end(&fetch->wait, &fault);
		return;
	}
	char *body = fake_body(mailbox, n, size);
	bool stored = !atomic_load(&fake->store_fails) &&
	              body_put(account->cache, fetch->ino, n, body, size, &fault);
	if (!wait_claim(&fetch->wait)) {
		g_free(body);
		return;
	}
	fetch->size = size;
	if (!is_open || !stored) {
		size_t off = MIN(fetch->offset, size);
		size_t len = is_open ? size : MIN(fetch->length, size - off);
		fetch->data = g_byte_array_new();
		g_byte_array_append(fetch->data, (guint8 *)body + off, (guint)len);
	}
	g_free(body);
	fetch->wait.done(&fetch->wait, NULL);
}

static bool
is_ready(const struct parked *parked)
{
	switch (parked->kind) {
	case PARKED_LISTING:
		return atomic_load(&fake->slow_listed) || atomic_load(&fake->listing_fails) ||
		       atomic_load(&fake->slow_step) != parked->step;
	case PARKED_FETCH:
		return atomic_load(&fake->fetch_goes) || atomic_load(&fake->fetch_fails);
	case PARKED_SYNC:
		return atomic_load(&fake->sync_goes);
	case PARKED_REFRESH:
		break;
	}
	return !atomic_load(&fake->refresh_waits);
}

static void
end_one(struct account *account, struct parked *parked)
{
	struct fault fault;
	fault_set(&fault, FAULT_UNREACHABLE, "the line was cut");
	if (parked->kind == PARKED_FETCH)
		end_fetch(account, (struct fetch_wait *)parked->wait, parked->is_open);
	else if (parked->kind == PARKED_LISTING && atomic_load(&fake->listing_fails))
		wait_end(parked->wait, &fault);
	else
		wait_end(parked->wait, NULL);
	wait_unref(parked->wait);
	g_free(parked);
}

static void
emit_event(struct account *account, int *number)
{
	int now = atomic_load(&fake->event_number);
	if (now == *number || account->config.event == NULL)
		return;
	*number = now;
	const struct account_event event = { fake->event_kind, fake->event_dir, fake->event_ino,
		                             fake->event_name };
	account->config.event(account->config.event_ctx, &event);
}

/* What the server sent of the mailbox that is listed for the first time becomes visible. */
static void
receive_slow(struct account *account)
{
	while (atomic_load(&fake->slow_step) < atomic_load(&fake->slow_target)) {
		uint32_t n = atomic_load(&fake->slow_step) + 1;
		char name[32];
		snprintf(name, sizeof name, "slow-%u.eml", n);
		const struct fake_message message = { name, 1000, 1000, true };
		if (fake_fill_message(account->cache, FAKE_SLOW, n, &message) == 0)
			return;
		atomic_store(&fake->slow_step, n);
	}
}

static void *
fake_thread(void *data)
{
	struct account *account = data;
	int event_number = 0;
	while (!atomic_load(&account->stopping)) {
		receive_slow(account);
		GPtrArray *ready = g_ptr_array_new();
		pthread_mutex_lock(&account->lock);
		for (guint i = 0; i < account->parked->len;) {
			struct parked *parked = g_ptr_array_index(account->parked, i);
			if (is_ready(parked)) {
				g_ptr_array_add(ready, parked);
				g_ptr_array_remove_index_fast(account->parked, i);
			} else {
				i++;
			}
		}
		atomic_store(&fake->waiting, (int)account->parked->len);
		pthread_mutex_unlock(&account->lock);
		for (guint i = 0; i < ready->len; i++)
			end_one(account, g_ptr_array_index(ready, i));
		g_ptr_array_free(ready, TRUE);
		emit_event(account, &event_number);
		g_usleep(2000);
	}
	return NULL;
}

static void
park_it(struct account *account, enum parked_kind kind, bool is_open, uint64_t step,
        struct wait *wait)
{
	struct parked *parked = g_new0(struct parked, 1);
	parked->kind = kind;
	parked->is_open = is_open;
	parked->step = step;
	parked->wait = wait_ref(wait);
	pthread_mutex_lock(&account->lock);
	g_ptr_array_add(account->parked, parked);
	pthread_mutex_unlock(&account->lock);
}

struct account *
account_new(const struct account_config *config, struct cache *cache)
{
	struct account *account = g_new0(struct account, 1);
	account->config = *config;
	account->cache = cache;
	account->parked = g_ptr_array_new();
	pthread_mutex_init(&account->lock, NULL);
	account->thread = g_thread_new("fake", fake_thread, account);
	return account;
}

bool
account_wait_login(struct account *account, int wait_ms, struct fault *fault)
{
	(void)account;
	(void)wait_ms;
	return !atomic_load(&fake->login_fails) ||
	       fault_set(fault, FAULT_UNREACHABLE, "mail.example.org can't be reached");
}

bool
account_stop(struct account *account, struct fault *fault)
{
	(void)fault;
	atomic_fetch_add(&fake->stopping, 1);
	while (atomic_load(&fake->stop_hangs))
		g_usleep(1000);
	atomic_store(&account->stopping, true);
	g_thread_join(account->thread);
	struct fault cancelled;
	fault_set(&cancelled, FAULT_CANCELLED, "ending");
	for (guint i = 0; i < account->parked->len; i++) {
		struct parked *parked = g_ptr_array_index(account->parked, i);
		wait_end(parked->wait, &cancelled);
		wait_unref(parked->wait);
		g_free(parked);
	}
	g_ptr_array_set_size(account->parked, 0);
	return true;
}

void
account_free(struct account **account)
{
	g_ptr_array_free((*account)->parked, TRUE);
	pthread_mutex_destroy(&(*account)->lock);
	g_free(*account);
	*account = NULL;
}

const struct account_config *
account_config(const struct account *account)
{
	return &account->config;
}

/* --- directories ----------------------------------------------------------------------- */

bool
account_refresh(struct account *account, uint32_t id, struct wait *wait)
{
	(void)id;
	if (!atomic_load(&fake->refresh_waits))
		return true;
	park_it(account, PARKED_REFRESH, false, 0, wait);
	return false;
}

enum listing
account_listing(struct account *account, uint32_t id, uint64_t *step_r)
{
	(void)account;
	*step_r = atomic_load(&fake->slow_step);
	return id != FAKE_SLOW || atomic_load(&fake->slow_listed) ? LISTING_COMPLETE
	                                                          : LISTING_RUNNING;
}

void
account_listing_wait(struct account *account, uint32_t id, uint64_t step, struct wait *wait)
{
	(void)id;
	park_it(account, PARKED_LISTING, false, step, wait);
}

double
account_valid_s(struct account *account, uint32_t id)
{
	uint64_t step;
	return account_listing(account, id, &step) == LISTING_COMPLETE ? 100 : 0;
}

void
account_used(struct account *account, uint32_t id)
{
	(void)account;
	(void)id;
	atomic_fetch_add(&fake->used, 1);
}

/* --- messages -------------------------------------------------------------------------- */

void
fetch_wait_clear(struct fetch_wait *wait)
{
	if (wait->data != NULL)
		g_byte_array_unref(wait->data);
	wait->data = NULL;
}

bool
account_open(struct account *account, struct fetch_wait *wait, uint64_t *size_r)
{
	struct body_info info;
	struct cache_view *view = cache_view_begin(account->cache);
	bool there = body_info_get(view, wait->ino, &info) && info.complete;
	cache_view_end(view);
	atomic_fetch_add(&fake->opens, 1);
	wait->key = wait->ino;
	if (there)
		*size_r = info.size;
	else
		park_it(account, PARKED_FETCH, true, 0, &wait->wait);
	return there;
}

void
account_read(struct account *account, struct fetch_wait *wait)
{
	atomic_fetch_add(&fake->reads, 1);
	park_it(account, PARKED_FETCH, false, 0, &wait->wait);
}

bool
account_pin(struct account *account, uint64_t ino)
{
	body_pin(account->cache, ino);
	atomic_fetch_add(&fake->pins, 1);
	return true;
}

void
account_unpin(struct account *account, uint64_t ino)
{
	body_unpin(account->cache, ino);
	atomic_fetch_sub(&fake->pins, 1);
}

/* --- the rest -------------------------------------------------------------------------- */

bool
account_delete(struct account *account, uint64_t ino, struct fault *fault)
{
	if (atomic_load(&fake->read_only))
		return fault_set(fault, FAULT_READONLY, "the mailbox is read-only");
	cache_hide(account->cache, ino);
	atomic_fetch_add(&fake->deletes, 1);
	return true;
}

void
account_sync_changes(struct account *account, uint32_t id, struct wait *wait)
{
	(void)id;
	park_it(account, PARKED_SYNC, false, 0, wait);
}

bool
account_quota(struct account *account, uint64_t *used_r, uint64_t *limit_r)
{
	(void)account;
	if (atomic_load(&fake->quota_limit) == 0)
		return false;
	*used_r = atomic_load(&fake->quota_used);
	*limit_r = atomic_load(&fake->quota_limit);
	return true;
}
