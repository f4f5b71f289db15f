/* SPDX-License-Identifier: MIT */
/*
 * An IMAP server of one mailbox that has as many messages as asked for, all made up
 * (bigbox.h), for where a real one would take hours to fill.
 *
 *     bigserver [-n MESSAGES] [-w CAPABILITY]...
 *
 * It listens on a port of 127.0.0.1, prints that, and takes orders from its standard
 * input, a line each, answered by a line:
 *
 *     add           a message comes                       its UID
 *     expunge UID   one goes                              ok
 *     flag UID      \Flagged of one is turned over        ok
 *
 * It ends with its input. -w leaves a capability out. It speaks what a client needs that
 * reads: no TLS, no literals in commands, one login for anybody. Each connection has a
 * thread; a command is answered under one lock, so that what it tells is of one moment.
 */
#include "config.h"

#include <arpa/inet.h>
#include <glib.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bigbox.h"

#define OUT_OCTETS    (1 << 18)
#define LINE_MAX_SIZE (1 << 20)

struct client {
	int fd, wakeup;
	GString *in, *out;
	bool selected, qresync, broken;
	guint told; /* changes of the log */
};

static GString *capabilities;

/* --- orders ----------------------------------------------------------------------------- */

static void
take_orders(void)
{
	char line[64];
	while (fgets(line, sizeof line, stdin) != NULL) {
		char word[16];
		uint32_t uid = 0;
		int count = sscanf(line, "%15s %u", word, &uid);
		g_mutex_lock(&box.lock);
		bool known = count == 2 && !is_gone(uid);
		if (count >= 1 && strcmp(word, "add") == 0) {
			uid = box_add();
			log_change(ADDED, uid);
			printf("%u\n", uid);
		} else if (known && strcmp(word, "expunge") == 0) {
			box.gone[uid / 64] |= UINT64_C(1) << (uid % 64);
			box.exists--;
			log_change(EXPUNGED, uid);
			puts("ok");
		} else if (known && strcmp(word, "flag") == 0) {
			box.bits[uid] ^= FLAGGED;
			log_change(FLAGS_CHANGED, uid);
			puts("ok");
		} else {
			puts("unknown");
		}
		g_mutex_unlock(&box.lock);
		fflush(stdout);
	}
}

/* --- sending and reading ------------------------------------------------------------------ */

static void
flush_out(struct client *client)
{
	for (gsize at = 0; at < client->out->len && !client->broken;) {
		ssize_t sent = send(client->fd, client->out->str + at, client->out->len - at,
		                    MSG_NOSIGNAL);
		client->broken = sent <= 0;
		at += sent > 0 ? (gsize)sent : 0;
	}
	g_string_truncate(client->out, 0);
}

/* A command without its end of line, or NULL. Valid until the next call. */
static char *
read_line(struct client *client)
{
	static __thread GString *line;
	char *end;
	if (line == NULL)
		line = g_string_new(NULL);
	while ((end = memchr(client->in->str, '\n', client->in->len)) == NULL) {
		char octets[8192];
		ssize_t got = recv(client->fd, octets, sizeof octets, 0);
		if (got <= 0 || client->in->len > LINE_MAX_SIZE)
			return NULL;
		g_string_append_len(client->in, octets, got);
	}
	gsize len = (gsize)(end - client->in->str);
	g_string_truncate(line, 0);
	g_string_append_len(line, client->in->str, (gssize)len);
	g_string_erase(client->in, 0, (gssize)len + 1);
	if (len > 0 && line->str[len - 1] == '\r')
		g_string_truncate(line, len - 1);
	return line->str;
}

static bool
announces(const char *name)
{
	char *found = strcasestr(capabilities->str, name);
	return found != NULL && strchr(" ", found[strlen(name)]) != NULL;
}

/* --- what is told unasked ----------------------------------------------------------------- */

/* What changed since the client was told, in the order it happened. */
static void
tell_changes(struct client *client)
{
	bool more = false;
	for (; client->selected && client->told < box.log->len; client->told++) {
		const struct change *change = &g_array_index(box.log, struct change, client->told);
		/* Sequence numbers are those of that moment: what went later was still there. */
		uint32_t number = count_below(change->uid) + 1;
		for (guint i = client->told + 1; i < box.log->len; i++) {
			const struct change *later = &g_array_index(box.log, struct change, i);
			number += later->kind == EXPUNGED && later->uid < change->uid;
		}
		if (change->kind == ADDED) {
			more = true;
		} else if (change->kind == EXPUNGED && client->qresync) {
			g_string_append_printf(client->out, "* VANISHED %u\r\n", change->uid);
		} else if (change->kind == EXPUNGED) {
			g_string_append_printf(client->out, "* %u EXPUNGE\r\n", number);
		} else {
			g_string_append_printf(client->out, "* %u FETCH (UID %u ", number,
			                       change->uid);
			append_flags(client->out, change->uid);
			if (client->qresync)
				g_string_append_printf(client->out, " MODSEQ (%" PRIu64 ")",
				                       modseq_of(change->uid));
			g_string_append(client->out, ")\r\n");
		}
	}
	if (more)
		g_string_append_printf(client->out, "* %u EXISTS\r\n", box.exists);
}

static void
vanished_since(struct client *client, uint64_t modseq)
{
	GString *set = g_string_new(NULL);
	for (guint i = modseq < 1 ? 0 : (guint)(modseq - 1); i < box.log->len; i++) {
		const struct change *change = &g_array_index(box.log, struct change, i);
		if (change->kind == EXPUNGED)
			append_range(set, change->uid, change->uid);
	}
	if (set->len > 0)
		g_string_append_printf(client->out, "* VANISHED (EARLIER) %s\r\n", set->str);
	g_string_free(set, TRUE);
}

/* --- commands ----------------------------------------------------------------------------- */

static void
append_fetch(struct client *client, uint32_t number, uint32_t uid, const GPtrArray *items)
{
	g_string_append_printf(client->out, "* %u FETCH (", number);
	for (guint i = 0; i < items->len; i++) {
		if (i > 0)
			g_string_append_c(client->out, ' ');
		append_item(client->out, uid, g_ptr_array_index(items, i));
	}
	g_string_append(client->out, ")\r\n");
	if (client->out->len > OUT_OCTETS)
		flush_out(client);
}

static void
fetch_range(struct client *client, struct range range, const GPtrArray *items)
{
	uint32_t number = range.first < box.uidnext ? count_below(range.first) : 0;
	for (uint32_t uid = range.first; uid <= range.last && !client->broken; uid++)
		if (!is_gone(uid))
			append_fetch(client, ++number, uid, items);
}

/* Those that changed since then. */
static void
fetch_changed(struct client *client, struct range range, const GPtrArray *items, uint64_t since)
{
	for (guint i = (guint)since - 1; i < box.log->len; i++) {
		const struct change *change = &g_array_index(box.log, struct change, i);
		uint32_t uid = change->uid;
		bool last = modseq_of(uid) == i + 2;
		if (last && uid >= range.first && uid <= range.last && !is_gone(uid))
			append_fetch(client, count_below(uid) + 1, uid, items);
	}
}

static bool
do_fetch(struct client *client, char *rest)
{
	static char uid_item[] = "UID", modseq_item[] = "MODSEQ";
	char *set = next_word(&rest), *list = inside(next_word(&rest));
	char *modifiers = inside(next_word(&rest)), *word;
	uint64_t since = 0;
	bool vanished = false, ok = true;
	GPtrArray *items = g_ptr_array_new();
	g_ptr_array_add(items, uid_item);
	while (*(word = next_word(&list)) != '\0')
		if (strcasecmp(word, "UID") != 0)
			g_ptr_array_add(items, word);
	while (*(word = next_word(&modifiers)) != '\0') {
		if (strcasecmp(word, "CHANGEDSINCE") == 0)
			since = g_ascii_strtoull(next_word(&modifiers), NULL, 10);
		vanished = vanished || strcasecmp(word, "VANISHED") == 0;
	}
	if (since > 0)
		g_ptr_array_add(items, modseq_item);
	/* What is not known is refused even where it would be told of no message. */
	GString *trial = g_string_new(NULL);
	for (guint i = 0; ok && i < items->len; i++)
		ok = append_item(trial, 1, g_ptr_array_index(items, i));
	g_string_free(trial, TRUE);
	if (ok && vanished)
		vanished_since(client, since);
	for (struct range range; ok && next_range(&set, &range);)
		if (since > 0)
			fetch_changed(client, range, items, since);
		else
			fetch_range(client, range, items);
	g_ptr_array_free(items, TRUE);
	return ok;
}

/* One key of SEARCH, its arguments taken from *rest, applied to all that is left. */
static bool
search_key(uint8_t *hits, const char *key, char **rest, bool wanted)
{
	const struct flag *flag = NULL;
	bool sense = wanted;
	uint64_t modseq = 0;
	uint8_t *members = NULL;
	if (strcasecmp(key, "ALL") == 0)
		return true;
	if (strcasecmp(key, "NOT") == 0)
		return search_key(hits, next_word(rest), rest, !wanted);
	for (gsize i = 0; i < BOX_FLAGS && flag == NULL; i++)
		if (strcasecmp(key, box_flags[i].key) == 0 || strcasecmp(key, box_flags[i].unkey) == 0) {
			flag = &box_flags[i];
			sense = wanted == (strcasecmp(key, flag->key) == 0);
		}
	if (strcasecmp(key, "MODSEQ") == 0) {
		modseq = g_ascii_strtoull(next_word(rest), NULL, 10);
	} else if (strcasecmp(key, "UID") == 0 || g_ascii_isdigit(*key)) {
		char *set = next_word(rest);
		members = g_new0(uint8_t, box.uidnext);
		for (struct range range; next_range(&set, &range);)
			if (range.first <= range.last)
				memset(members + range.first, 1, range.last - range.first + 1);
	} else if (flag == NULL) {
		return false;
	}
	for (uint32_t uid = 1; uid < box.uidnext; uid++) {
		bool is = flag != NULL      ? (box.bits[uid] & flag->bit) != 0
		          : members != NULL ? members[uid]
		                            : modseq_of(uid) >= modseq;
		hits[uid] = hits[uid] && is == sense;
	}
	g_free(members);
	return true;
}

static void
answer_search(struct client *client, const char *tag, const uint8_t *hits, const char *options)
{
	GString *set = g_string_new(NULL);
	uint32_t first = 0, count = 0, low = 0, high = 0, last = 0;
	if (options == NULL)
		g_string_append(client->out, "* SEARCH");
	for (uint32_t uid = 1; uid < box.uidnext; uid++) {
		if (!hits[uid])
			continue;
		if (options == NULL)
			g_string_append_printf(client->out, " %u", uid);
		if (first != 0 && last + 1 != uid) {
			append_range(set, first, last);
			first = 0;
		}
		first = first == 0 ? uid : first;
		low = low == 0 ? uid : low;
		high = last = uid;
		count++;
	}
	if (first != 0)
		append_range(set, first, last);
	if (options != NULL) {
		bool all = *options == '\0' || strcasestr(options, "ALL") != NULL;
		g_string_append_printf(client->out, "* ESEARCH (TAG \"%s\") UID", tag);
		if (count > 0 && strcasestr(options, "MIN") != NULL)
			g_string_append_printf(client->out, " MIN %u", low);
		if (count > 0 && strcasestr(options, "MAX") != NULL)
			g_string_append_printf(client->out, " MAX %u", high);
		if (strcasestr(options, "COUNT") != NULL)
			g_string_append_printf(client->out, " COUNT %u", count);
		if (count > 0 && all)
			g_string_append_printf(client->out, " ALL %s", set->str);
	}
	g_string_append(client->out, "\r\n");
	g_string_free(set, TRUE);
}

static bool
do_search(struct client *client, const char *tag, char *rest)
{
	char *options = NULL, *word = next_word(&rest);
	if (strcasecmp(word, "RETURN") == 0 && announces("ESEARCH")) {
		options = inside(next_word(&rest));
		word = next_word(&rest);
	}
	uint8_t *hits = g_new(uint8_t, box.uidnext);
	bool ok = true;
	for (uint32_t uid = 0; uid < box.uidnext; uid++)
		hits[uid] = !is_gone(uid);
	for (; ok && *word != '\0'; word = next_word(&rest))
		ok = search_key(hits, word, &rest, true);
	if (ok)
		answer_search(client, tag, hits, options);
	g_free(hits);
	return ok;
}

static void
append_status(GString *out, char *list)
{
	uint32_t unseen = 0;
	const char *space = "";
	for (uint32_t uid = 1; uid < box.uidnext; uid++)
		unseen += !is_gone(uid) && (box.bits[uid] & SEEN) == 0;
	g_string_append(out, "* STATUS INBOX (");
	for (char *word; *(word = next_word(&list)) != '\0'; space = " ") {
		uint64_t value = strcasecmp(word, "MESSAGES") == 0        ? box.exists
		                 : strcasecmp(word, "UIDNEXT") == 0       ? box.uidnext
		                 : strcasecmp(word, "UIDVALIDITY") == 0   ? UIDVALIDITY
		                 : strcasecmp(word, "HIGHESTMODSEQ") == 0 ? highest_modseq()
		                 : strcasecmp(word, "UNSEEN") == 0        ? unseen
		                                                          : 0;
		g_string_append_printf(out, "%s%s %" PRIu64, space, word, value);
	}
	g_string_append(out, ")\r\n");
}

static void
do_list(struct client *client, char *rest)
{
	char *word, *pattern = NULL;
	g_string_append(client->out, "* LIST () \"/\" ");
	next_word(&rest);
	pattern = next_word(&rest);
	g_string_append(client->out, *pattern == '\0' ? "\"\"\r\n" : "INBOX\r\n");
	while (*(word = next_word(&rest)) != '\0') {
		char *options = strcasecmp(word, "RETURN") == 0 ? inside(next_word(&rest)) : word;
		while (*(word = next_word(&options)) != '\0')
			if (strcasecmp(word, "STATUS") == 0)
				append_status(client->out, inside(next_word(&options)));
	}
}

static bool
do_select(struct client *client, char *rest)
{
	char *name = next_word(&rest), *options = inside(next_word(&rest)), *word;
	if (client->selected && client->qresync)
		g_string_append(client->out, "* OK [CLOSED] ok\r\n"); /* RFC 7162, 3.2.11 */
	client->selected = strcasecmp(name, "INBOX") == 0;
	client->told = box.log->len;
	if (!client->selected)
		return false;
	g_string_append_printf(client->out,
	                       "* FLAGS (\\Seen \\Answered \\Flagged \\Deleted \\Draft)\r\n"
	                       "* OK [PERMANENTFLAGS ()] read-only\r\n* %u EXISTS\r\n"
	                       "* 0 RECENT\r\n* OK [UIDVALIDITY %u] ok\r\n* OK [UIDNEXT %u] ok\r\n",
	                       box.exists, UIDVALIDITY, box.uidnext);
	if (announces("CONDSTORE"))
		g_string_append_printf(client->out, "* OK [HIGHESTMODSEQ %" PRIu64 "] ok\r\n",
		                       highest_modseq());
	while (*(word = next_word(&options)) != '\0') {
		if (strcasecmp(word, "QRESYNC") != 0)
			continue;
		static char flags_item[] = "FLAGS", uid_item[] = "UID", modseq_item[] = "MODSEQ";
		char *values = inside(next_word(&options));
		unsigned long uidvalidity = strtoul(next_word(&values), NULL, 10);
		uint64_t since = g_ascii_strtoull(next_word(&values), NULL, 10);
		if (uidvalidity != UIDVALIDITY)
			continue;
		gpointer wanted[] = { uid_item, flags_item, modseq_item };
		GPtrArray items = { .pdata = wanted, .len = G_N_ELEMENTS(wanted) };
		vanished_since(client, since);
		fetch_changed(client, (struct range){ 1, box.uidnext - 1 }, &items, MAX(since, 1));
	}
	return true;
}

/* Waits for DONE, telling what changes. */
static bool
do_idle(struct client *client)
{
	g_string_append(client->out, "+ idling\r\n");
	flush_out(client);
	while (memchr(client->in->str, '\n', client->in->len) == NULL) {
		struct pollfd fds[] = { { .fd = client->fd, .events = POLLIN },
			                { .fd = client->wakeup, .events = POLLIN } };
		eventfd_t value;
		if (poll(fds, 2, -1) < 0 || client->broken)
			return false;
		if (fds[0].revents != 0)
			break;
		eventfd_read(client->wakeup, &value);
		g_mutex_lock(&box.lock);
		tell_changes(client);
		g_mutex_unlock(&box.lock);
		flush_out(client);
	}
	return read_line(client) != NULL;
}

/* False: the command is not known, or it is one that can't be. Lock held. */
static bool
do_command(struct client *client, const char *tag, const char *name, char *rest)
{
	if (strcasecmp(name, "UID") == 0) {
		char *what = next_word(&rest);
		if (client->selected && strcasecmp(what, "FETCH") == 0)
			return do_fetch(client, rest);
		return client->selected && strcasecmp(what, "SEARCH") == 0 &&
		       do_search(client, tag, rest);
	}
	if (strcasecmp(name, "SELECT") == 0 || strcasecmp(name, "EXAMINE") == 0)
		return do_select(client, rest);
	if (strcasecmp(name, "CAPABILITY") == 0) {
		g_string_append_printf(client->out, "* CAPABILITY %s\r\n", capabilities->str);
	} else if (strcasecmp(name, "ENABLE") == 0) {
		client->qresync = strcasestr(rest, "QRESYNC") != NULL && announces("QRESYNC");
		g_string_append_printf(client->out, "* ENABLED %s\r\n", rest);
	} else if (strcasecmp(name, "LIST") == 0) {
		do_list(client, rest);
	} else if (strcasecmp(name, "STATUS") == 0) {
		next_word(&rest);
		append_status(client->out, inside(next_word(&rest)));
	} else if (strcasecmp(name, "UNSELECT") == 0) {
		client->selected = false;
	} else if (strcasecmp(name, "LOGOUT") == 0) {
		g_string_append(client->out, "* BYE\r\n");
	} else {
		return strcasecmp(name, "LOGIN") == 0 || strcasecmp(name, "NOOP") == 0;
	}
	return true;
}

static void
serve_commands(struct client *client)
{
	char *line;
	g_string_append(client->out, "* OK ready\r\n");
	flush_out(client);
	while (!client->broken && (line = read_line(client)) != NULL) {
		char *tag = g_strdup(next_word(&line)), *name = next_word(&line);
		bool ok, logout = strcasecmp(name, "LOGOUT") == 0;
		if (strcasecmp(name, "IDLE") == 0) {
			ok = do_idle(client);
		} else {
			g_mutex_lock(&box.lock);
			tell_changes(client);
			ok = do_command(client, tag, name, line);
			g_mutex_unlock(&box.lock);
		}
		g_string_append_printf(client->out, "%s %s\r\n", tag, ok ? "OK done" : "BAD no");
		g_free(tag);
		flush_out(client);
		if (logout)
			break;
	}
}

static void *
client_thread(void *data)
{
	struct client client = { .fd = GPOINTER_TO_INT(data), .wakeup = eventfd(0, EFD_NONBLOCK),
		                 .in = g_string_new(NULL), .out = g_string_new(NULL) };
	g_mutex_lock(&box.lock);
	g_ptr_array_add(box.wakeups, GINT_TO_POINTER(client.wakeup));
	g_mutex_unlock(&box.lock);
	serve_commands(&client);
	g_mutex_lock(&box.lock);
	g_ptr_array_remove(box.wakeups, GINT_TO_POINTER(client.wakeup));
	g_mutex_unlock(&box.lock);
	close(client.wakeup);
	close(client.fd);
	g_string_free(client.in, TRUE);
	g_string_free(client.out, TRUE);
	return NULL;
}

static void *
accept_thread(void *data)
{
	int listener = GPOINTER_TO_INT(data), fd, on = 1;
	while ((fd = accept(listener, NULL, NULL)) >= 0) {
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
		g_thread_unref(g_thread_new("client", client_thread, GINT_TO_POINTER(fd)));
	}
	return NULL;
}

static int
start_listening(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
		                       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof address;
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	if (bind(fd, (struct sockaddr *)&address, len) != 0 || listen(fd, 50) != 0 ||
	    getsockname(fd, (struct sockaddr *)&address, &len) != 0)
		return -1;
	printf("%u\n", ntohs(address.sin_port));
	fflush(stdout);
	return fd;
}

int
main(int argc, char **argv)
{
	unsigned long messages = 1000;
	gchar **words = g_strsplit("IMAP4rev1 ENABLE IDLE UNSELECT UIDPLUS ESEARCH LIST-EXTENDED "
	                           "LIST-STATUS CONDSTORE QRESYNC", " ", 0);
	for (int option; (option = getopt(argc, argv, "n:w:")) != -1;) {
		if (option == '?')
			return 2;
		if (option == 'n')
			messages = strtoul(optarg, NULL, 10);
		for (gchar **word = words; option == 'w' && *word != NULL; word++)
			if (strcasecmp(*word, optarg) == 0)
				**word = '\0';
	}
	capabilities = g_string_new(NULL);
	for (gchar **word = words; *word != NULL; word++)
		if (**word != '\0')
			g_string_append_printf(capabilities, "%s%s", capabilities->len > 0 ? " " : "",
			                       *word);
	g_strfreev(words);
	box_fill((uint32_t)messages);
	int listener = start_listening();
	if (listener < 0)
		return 1;
	g_thread_unref(g_thread_new("accept", accept_thread, GINT_TO_POINTER(listener)));
	take_orders();
	return 0;
}
