/* SPDX-License-Identifier: MIT */
/*
 * One IMAP connection, logged in, with at most one mailbox selected.
 *
 * It belongs to one thread, which uses it with blocking calls. Other threads may
 * call only what is marked "any thread". Nothing blocks for longer than the
 * timeout without an octet coming in.
 *
 *     struct imap_command *command = conn_command(conn, "UID FETCH");
 *     imap_command_set(command, "1:100");
 *     imap_command_raw(command, "(UID FLAGS)");
 *     uint32_t tag = conn_send(conn, command);
 *     ... more commands ...
 *     if (!conn_wait(conn, tag, &reply, fault))
 *             return false;                    the line is lost; a NO is not that
 *     ok = conn_reply_fault(&reply, fault, "listing %s", name);
 *
 * Commands may be pipelined. What the server says goes to the handler in the order it comes,
 * whichever command it was for. Nothing is pipelined behind a SELECT.
 *
 * A function that returns false sets the fault. A fault either harms the connection (cut line, no
 * answer in time, BYE, cancelled, out of step), then conn_alive() is false, every later call fails
 * with the same fault, and all there is to do is conn_free(); or it doesn't (a NO to SELECT, a
 * command that can't be said), then the connection goes on.
 */
#ifndef SESSION_CONN_H
#define SESSION_CONN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/fault.h"
#include "imap/command.h"
#include "imap/response.h"
#include "net/stream.h"
#include "session/auth.h"
#include "session/pool.h"

struct conn;

#define CONN_TIMEOUT_S 30

enum conn_tls {
	CONN_TLS_IMPLICIT, /* imaps: from the first octet */
	CONN_TLS_STARTTLS, /* imap: STARTTLS or nothing */
	CONN_TLS_OFF,      /* cleartext; refused unless the peer is a loopback address */
};

/* Shared by all connections, never changed while one is open; strings are the caller's. */
struct conn_config {
	const char *host; /* name or IP literal (without brackets) */
	uint16_t port;
	enum conn_tls tls;
	const char *cafile, *certfile, *keyfile; /* or NULL; see struct tls_config */
	const char *user;                        /* or NULL */
	const char *auth;                        /* forced mechanism, or NULL */
	struct auth_secret_source secret;
	unsigned timeout_s;                      /* 0 means CONN_TIMEOUT_S */
	const char *const *without; /* capabilities to ignore, NULL at the end; or NULL */
	const char *const *enable;  /* what to ENABLE where it is offered, the same way */
	bool compress;              /* COMPRESS=DEFLATE where it is offered */
	bool trace;                 /* each line to log_debug, secrets masked, literals left out */
};

/*
 * Connects and logs in, up to the authenticated state: greeting, TLS, capabilities, login (with a
 * token a second time, with a new one, when the first was refused), ID, ENABLE, COMPRESS.
 * pool: consulted for what is broken with this host, told what is learnt, cancels (pool_cancel());
 * or NULL. number: for the log.
 * False: FAULT_UNREACHABLE, FAULT_TIMEOUT, FAULT_TLS, FAULT_AUTH, FAULT_BUSY (the server wants no
 * further connection now), FAULT_UNSUPPORTED (no IMAP4rev1, no STARTTLS), FAULT_PROTOCOL,
 * FAULT_CANCELLED.
 */
bool conn_open(const struct conn_config *config, struct pool *pool, unsigned number,
               struct conn **conn_r, struct fault *fault);
/* LOGOUT, if nothing is outstanding; waits for 5 seconds at most, ignores what goes wrong. */
void conn_logout(struct conn *conn);
/* Closes and frees *conn and sets it to NULL; NULL is accepted. Does not wait. */
void conn_free(struct conn **conn);

/* Any thread (while it is sure that conn isn't freed): the current and all later calls of the owner
 * fail with FAULT_CANCELLED. */
void conn_cancel(struct conn *conn);
/* Any thread: boottime ns of the last octet received, or of conn_touch(). */
int64_t conn_progress_ns(const struct conn *conn);
/* Any thread: counts as progress, e.g. when work begins after a pause. */
void conn_touch(struct conn *conn);
/* Any thread: octets on the wire and as commands and responses. */
void conn_octets(const struct conn *conn, struct stream_octets *octets_r);

/* False: the connection is of no use any more. */
bool conn_alive(const struct conn *conn);

/* What the server offers since the login, without what is switched off or broken. */
bool conn_has(const struct conn *conn, enum imap_cap cap);
/* What the server confirmed by ENABLED. */
bool conn_enabled(const struct conn *conn, enum imap_cap cap);
/* It is offered but does not work: this connection and later ones do without. */
void conn_ban(struct conn *conn, enum imap_cap cap);

/* --- what the server says -------------------------------------------------------------- */

/* Called by the owner's thread inside conn_send(), conn_wait() and so on; must not call them.
 * Every member may be NULL. Responses are valid during the call. */
struct conn_handler {
	void *ctx;
	/* Each untagged response, also those that conn itself acts on (EXISTS, OK with a code,
	 * ...). */
	void (*untagged)(void *ctx, const struct imap_response *response);
	/* The octets of a body: partial is the response so far (see imap/parser.h; the UID may come
	 * after the body). False: they are not wanted, and are dropped. */
	bool (*literal_begin)(void *ctx, const struct imap_response *partial, const char *item,
	                      uint64_t size);
	void (*literal_data)(void *ctx, const char *data, size_t len);
	void (*literal_end)(void *ctx); /* good only when the response has come, by untagged() */
	/* A response could not be understood and was dropped, with what was streamed for it. */
	void (*skipped)(void *ctx, const char *error);
};

/* Copied. NULL: none, which also drops bodies. */
void conn_set_handler(struct conn *conn, const struct conn_handler *handler);

/* --- commands -------------------------------------------------------------------------- */

/* COPYUID: source[i] became dest[i]. */
struct conn_copyuid {
	uint64_t uidvalidity;
	unsigned count;
	uint32_t *source, *dest;
};

/* A tagged reply. {0} before its first use; conn_reply_clear() frees what it owns. */
struct conn_reply {
	enum imap_status status;  /* OK, NO, BAD */
	enum imap_code code;
	char text[200];           /* what the server said, cut, without the code */
	char *code_args;          /* words, `1:5,7` of MODIFIED, without parentheses; NULL: none */
	bool has_number;
	uint64_t number;          /* of HIGHESTMODSEQ and the like */
	bool has_appenduid;
	uint64_t append_uidvalidity;
	uint32_t append_uid;
	bool limited;             /* done in part: MESSAGELIMIT, here or untagged before */
	uint32_t limit_uid;       /* down to this UID; 0: not told */
	struct conn_copyuid copyuid; /* count 0: none; also from an untagged OK before (MOVE) */
};
void conn_reply_clear(struct conn_reply *reply);

/* A command with the kind of literals that this server takes. */
struct imap_command *conn_command(const struct conn *conn, const char *verb);

/*
 * Ends and sends a command, or queues it until conn_wait() or conn_flush(); owns it from now on.
 * Waits only for the `+` that a literal needs. Returns its tag (never 0), to be given to
 * conn_wait() once, which also tells what went wrong here.
 */
uint32_t conn_send(struct conn *conn, struct imap_command *command);
/* Sends what is queued. What goes wrong is told by conn_wait(). */
void conn_flush(struct conn *conn);
/*
 * Waits for the tagged reply of one command; replies to others are kept for their own conn_wait().
 * True for NO and BAD too. *reply_r (may be NULL) is overwritten after a conn_reply_clear().
 * False: the line is lost, or the command couldn't be said (FAULT_INVALID).
 */
bool conn_wait(struct conn *conn, uint32_t tag, struct conn_reply *reply_r, struct fault *fault);
/* Both. */
bool conn_run(struct conn *conn, struct imap_command *command, struct conn_reply *reply_r,
              struct fault *fault);
/* How many commands are without a reply. */
unsigned conn_outstanding(const struct conn *conn);

/* Sets the fault that a NO or BAD means: "what: NO text". Returns false; true for an OK. */
bool conn_reply_fault(const struct conn_reply *reply, struct fault *fault, const char *what, ...)
	__attribute__((format(printf, 3, 4)));

/* NOOP, which lets the server tell what is new. */
bool conn_noop(struct conn *conn, struct fault *fault);
/* The same, to be answered within so many seconds: whether the line is alive. */
bool conn_probe(struct conn *conn, unsigned seconds, struct fault *fault);

/* --- the mailbox ----------------------------------------------------------------------- */

/* The selected mailbox, kept up with what the server tells. */
struct conn_mailbox {
	const char *name; /* raw */
	size_t name_len;
	uint64_t uidvalidity;   /* 0: the server tells none; never trust UIDs then */
	uint32_t uidnext;       /* 0: unknown; never goes down */
	uint32_t exists;
	uint64_t highestmodseq; /* at the SELECT; 0: the mailbox keeps none */
	bool read_only;         /* EXAMINE, or the server said so */
	bool has_permanentflags;
	unsigned permanentflags; /* enum imap_flag, with ANY; only if has_permanentflags */
	char mailboxid[256];    /* RFC 8474, "" for none */
	bool stale;             /* UIDVALIDITY changed meanwhile: select it again */
	/* What was heard since the SELECT; who wants to know whether anything changed compares. */
	unsigned exists_changes;
	unsigned expunges;      /* messages, by EXPUNGE or VANISHED */
	unsigned fetches;       /* FETCH responses that came while no handler was set */
};

/*
 * SELECT or EXAMINE of a mailbox by its raw name. Waits for what is outstanding before. params:
 * what follows the name, constant text such as "(CONDSTORE)" or "(QRESYNC (1 17))", or NULL.
 * Responses go to the handler meanwhile. The state is committed when the tagged OK has come; after
 * a refusal (FAULT_GONE, FAULT_DENIED, FAULT_REFUSED ...) none is selected. One that says that the
 * mailbox exists (RFC 5530 ALREADYEXISTS) is asked once more.
 */
bool conn_select(struct conn *conn, const char *raw, size_t len, bool examine, const char *params,
                 struct fault *fault);
/* NULL: none. Valid until the next select, unselect or free; its values change as we hear. */
const struct conn_mailbox *conn_selected(const struct conn *conn);
/* What a SELECT that is under way has told so far; NULL: none is. */
const struct conn_mailbox *conn_selecting(const struct conn *conn);
/* UNSELECT (RFC 3691) where offered; else nothing is done (never CLOSE, which expunges). */
bool conn_unselect(struct conn *conn, struct fault *fault);

/* --- listening to what the server says unasked ------------------------------------------ */

/*
 * IDLE (RFC 2177): the selected mailbox; conn_idle(), conn_listen() as often as wanted, and
 * conn_idle_end() before any other command. NOTIFY (RFC 5465): all mailboxes of the personal
 * namespaces, without selecting any; conn_notify() once, then conn_listen() whenever no command is
 * under way. What comes goes to the handler, as ever.
 */

/* Begins an IDLE; true when the server is listening with us. False, and the connection goes on: it
 * was refused (BAD: and banned). False, and it doesn't: the `+` has not come within 15 seconds
 * (FAULT_TIMEOUT; IDLE is banned), and all that breaks a line. */
bool conn_idle(struct conn *conn, struct fault *fault);
/* DONE, if the server hasn't ended it itself, and what comes up to the tagged reply. */
bool conn_idle_end(struct conn *conn, struct fault *fault);

enum conn_event {
	CONN_EVENT_MESSAGES = 1 << 0, /* MessageNew, MessageExpunge */
	CONN_EVENT_FLAGS = 1 << 1,    /* only of mailboxes that have mod-sequences */
	CONN_EVENT_MAILBOXES = 1 << 2,
	CONN_EVENT_SUBSCRIPTIONS = 1 << 3,
	CONN_EVENT_ALL = (1 << 4) - 1,
};
/*
 * NOTIFY SET STATUS: a STATUS response for each mailbox comes before it returns, later one for each
 * that changes (with at least the items that changed), and LIST responses for mailboxes that come,
 * go and are renamed. *events_r: those that the server can do, MESSAGES among them. May be
 * repeated, for a STATUS of all. False, and the connection goes on: NOTIFY was refused, and is
 * banned; or it was too much for the server (NOTIFICATIONOVERFLOW).
 */
bool conn_notify(struct conn *conn, unsigned *events_r, struct fault *fault);

enum conn_heard {
	CONN_HEARD_NOTHING, /* until until_ns */
	CONN_HEARD_NEWS,    /* the handler was told */
	CONN_HEARD_WAKE,    /* conn_wake() */
	CONN_HEARD_END,     /* the handler may have been told; the server ended the IDLE (call
	                     * conn_idle_end()), or takes NOTIFY back (NOTIFICATIONOVERFLOW) */
};
/* Waits until something is heard, or until_ns (boottime). Only here no timeout holds: a line that
 * died in silence is found out by the next command. */
bool conn_listen(struct conn *conn, int64_t until_ns, enum conn_heard *heard_r,
                 struct fault *fault);
/* Any thread (while it is sure that conn isn't freed): the current conn_listen() or the next one
 * returns with CONN_HEARD_WAKE, if it has nothing else to tell. */
void conn_wake(struct conn *conn);

#endif
