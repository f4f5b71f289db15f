/* SPDX-License-Identifier: MIT */
/*
 * The records of the index, and their layout on disk. Pure: octets in, values
 * out. Numbers are stored in the machine's order (the cache never leaves the
 * machine), keys big-endian, so that they sort as numbers. A record says how
 * long its fixed part is: one of an earlier version may lack fields (they are
 * 0 then), one of a later version may have more. Decoding never trusts what is
 * stored: a record that is too short is no record, and nothing is read behind
 * its end.
 *
 * Strings and lists of a decoded record point into the stored octets and live
 * as long as the view or transaction they were read in.
 */
#ifndef CACHE_RECORD_H
#define CACHE_RECORD_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A stored value. */
struct octets {
	const void *data;
	size_t len;
};

#define ROOT_INO     1u
#define ROOT_MAILBOX 0u

/* A mailbox: a directory. The root is one too, of id 0, without a raw name. */
struct mailbox_record {
	uint32_t id, parent;
	uint64_t ino;
	uint32_t space;         /* the present generation of UIDs; 0: never selected */
	uint32_t uidnext, exists;
	uint64_t uidvalidity, highestmodseq;
	uint32_t attrs;         /* enum imap_attr */
	uint32_t next_recno;
	uint32_t messages;      /* listed ones */
	uint32_t children;
	bool listed;            /* completely, once */
	bool read_only;
	int64_t synced_ns;      /* real time of the last sync */
	int64_t compared_ns;    /* real time of the last whole comparison with the server */
	int64_t mtime_ns;       /* grows with each change of the directory */
	const char *raw;        /* as LIST gave it, the name for commands */
	size_t raw_len;
	const char *name;       /* as the mount shows it; NUL-terminated */
	size_t name_len;
	const char *mailboxid;  /* RFC 8474; NUL-terminated, "" for none */
};

enum message_state {
	MESSAGE_HIDDEN = 1 << 0,    /* its deletion is pending */
	MESSAGE_SIZE_TRUE = 1 << 1, /* the size is proven */
	MESSAGE_NO_HEADER = 1 << 2, /* its header can't be had */
	MESSAGE_PROBABLE = 1 << 3,  /* it may not be what its inode was before: the octets decide */
};

/* IMAP's \Deleted in `flags`, the same bit as IMAP_FLAG_DELETED (checked in mail/). */
#define MESSAGE_FLAG_DELETED (1u << 3)

/* A message: a file. */
struct message_record {
	uint32_t space, recno;  /* the key; recno is the place in the listing */
	uint32_t uid;
	uint32_t flags;         /* enum imap_flag */
	uint32_t state;         /* enum message_state */
	uint64_t ino;
	uint64_t size;          /* octets; RFC822.SIZE, or the truth once it is known */
	uint64_t told;          /* RFC822.SIZE as the server tells it; 0: it does not */
	int64_t mtime;          /* seconds since 1970 */
	int64_t ctime_ns;
	uint64_t modseq;
	uint64_t body;          /* key of the stored body; 0: the inode number */
	uint64_t prior;         /* PROBABLE: key of the body it had elsewhere; 0: none */
	unsigned char identity[32];
	const char *name;       /* NUL-terminated */
	size_t name_len;
	const char *keywords;   /* separated by blanks; NUL-terminated */
	size_t keywords_len;
	/* NUL-terminated, "" for none. emailid: EMAILID, X-GM-MSGID, or behind MESSAGE_GUID_PREFIX
	 * Dovecot's X-GUID. */
	const char *emailid, *threadid, *labels;
};
#define MESSAGE_GUID_PREFIX "guid:"

/* Whether it is shown. */
static inline bool
message_listed(const struct message_record *record)
{
	return (record->flags & MESSAGE_FLAG_DELETED) == 0 &&
	       (record->state & MESSAGE_HIDDEN) == 0;
}

/* The key of its octets in cache/body.h. */
static inline uint64_t
message_body_key(const struct message_record *record)
{
	return record->body != 0 ? record->body : record->ino;
}

/* Where an inode number leads: a message is in its mailbox's present space. */
struct inode_record {
	bool is_message;
	uint32_t mailbox;
	uint32_t recno; /* of a message */
};
#define INODE_ROW 9 /* octets */

enum journal_kind { JOURNAL_DELETE = 1, JOURNAL_FLAGS = 2 };
enum journal_state {
	JOURNAL_PENDING = 0,
	JOURNAL_COPYING = 1, /* a COPY or MOVE may have been sent: look in the target first */
};

/* A change that is not yet on the server. */
struct journal_record {
	uint64_t seq;
	uint8_t kind, state;
	uint8_t policy;           /* DELETE: enum delete_policy */
	uint32_t mailbox, uid;
	uint64_t uidvalidity;
	uint64_t ino;
	uint32_t flags_add, flags_remove; /* FLAGS */
	uint64_t target_uidvalidity;      /* COPYING: of the trash, and its UIDNEXT before */
	uint32_t target_uidnext;
	int64_t created_ns;
	uint32_t space, recno;            /* the message's record */
	uint32_t attempts;
	uint32_t target_uid;              /* once it is known; else 0 */
	const char *target;               /* raw name of the target; NUL-terminated, "" for none */
	size_t target_len;
	struct octets blob;               /* whatever the kind needs besides */
};

/* Encoders append to out (NULL is "", and the strings of a message are cut at 32,000 octets);
 * decoders fill the record but for its key, and return false, the record being undefined, if it
 * is none. */
void mailbox_encode(const struct mailbox_record *record, GByteArray *out);
bool mailbox_decode(struct octets value, struct mailbox_record *record_r);
void message_encode(const struct message_record *record, GByteArray *out);
bool message_decode(struct octets value, struct message_record *record_r);
void inode_encode(const struct inode_record *record, unsigned char out_r[INODE_ROW]);
bool inode_decode(struct octets value, struct inode_record *record_r);
void journal_encode(const struct journal_record *record, GByteArray *out);
bool journal_decode(struct octets value, struct journal_record *record_r);

/* Big-endian keys. */
void key_u32(unsigned char *out, uint32_t value);
void key_u64(unsigned char *out, uint64_t value);
uint32_t key_get_u32(const unsigned char *in);
uint64_t key_get_u64(const unsigned char *in);

#endif
