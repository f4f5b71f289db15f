/* SPDX-License-Identifier: MIT */
/* The layout of records: see record.h. */
#include "config.h"

#include "cache/record.h"

#include <string.h>

#define STRING_MAX 32000u

/* What precedes the strings: its own length first, no padding within, new fields at the end. */
struct disk_mailbox {
	uint16_t fixed, raw_len, name_len;
	uint8_t listed, read_only;
	uint64_t ino, uidvalidity, highestmodseq;
	int64_t synced_ns, mtime_ns;
	uint32_t parent, space, uidnext, exists, attrs, next_recno, messages, children;
	int64_t compared_ns;
	uint32_t mailboxid_len, unused;
};

struct disk_message {
	uint16_t fixed, name_len, keywords_len, emailid_len, threadid_len, labels_len;
	uint32_t uid, flags, state;
	uint64_t ino, size, modseq, body;
	int64_t mtime, ctime_ns;
	unsigned char identity[32];
	uint64_t told, prior;
};

struct disk_journal {
	uint16_t fixed, target_len;
	uint8_t kind, state, policy, unused;
	uint64_t uidvalidity, ino, target_uidvalidity;
	int64_t created_ns;
	uint32_t mailbox, uid, flags_add, flags_remove, target_uidnext, space, recno, attempts,
		target_uid, blob_len;
};

_Static_assert(sizeof(struct disk_mailbox) == 96, "padded");
_Static_assert(sizeof(struct disk_message) == 120, "padded");
_Static_assert(sizeof(struct disk_journal) == 80, "padded");

void
key_u32(unsigned char *out, uint32_t value)
{
	value = GUINT32_TO_BE(value);
	memcpy(out, &value, 4);
}

void
key_u64(unsigned char *out, uint64_t value)
{
	value = GUINT64_TO_BE(value);
	memcpy(out, &value, 8);
}

uint32_t
key_get_u32(const unsigned char *in)
{
	uint32_t value;
	memcpy(&value, in, 4);
	return GUINT32_FROM_BE(value);
}

uint64_t
key_get_u64(const unsigned char *in)
{
	uint64_t value;
	memcpy(&value, in, 8);
	return GUINT64_FROM_BE(value);
}

/* Copies the fixed part, as much of it as there is; 0 where that can't be. Else its length. */
static size_t
get_fixed(struct octets value, void *disk, size_t size)
{
	uint16_t fixed;
	if (value.len < sizeof fixed)
		return 0;
	memcpy(&fixed, value.data, sizeof fixed);
	if (fixed < 8 || fixed > value.len)
		return 0;
	memset(disk, 0, size);
	memcpy(disk, value.data, MIN(fixed, size));
	return fixed;
}

/* A string with its NUL. */
static void
put_string(GByteArray *out, const char *str, size_t len)
{
	static const guint8 nul = 0;
	if (len > 0)
		g_byte_array_append(out, (const guint8 *)str, (guint)len);
	g_byte_array_append(out, &nul, 1);
}

/* The next string of `len` octets and its NUL; NULL if the value ends before. */
static const char *
get_string(struct octets value, size_t *pos, size_t len)
{
	const char *str = (const char *)value.data + *pos;
	if (value.len - *pos < len + 1 || str[len] != '\0')
		return NULL;
	*pos += len + 1;
	return str;
}

static uint16_t
short_len(const char *str)
{
	return (uint16_t)(str != NULL ? strnlen(str, STRING_MAX) : 0);
}

void
mailbox_encode(const struct mailbox_record *record, GByteArray *out)
{
	struct disk_mailbox disk = {
		.fixed = sizeof disk, .raw_len = (uint16_t)MIN(record->raw_len, STRING_MAX),
		.name_len = (uint16_t)MIN(record->name_len, STRING_MAX),
		.listed = record->listed, .read_only = record->read_only,
		.ino = record->ino, .uidvalidity = record->uidvalidity,
		.highestmodseq = record->highestmodseq, .synced_ns = record->synced_ns,
		.mtime_ns = record->mtime_ns, .parent = record->parent, .space = record->space,
		.uidnext = record->uidnext, .exists = record->exists, .attrs = record->attrs,
		.next_recno = record->next_recno, .messages = record->messages,
		.children = record->children, .compared_ns = record->compared_ns,
		.mailboxid_len = short_len(record->mailboxid),
	};
	g_byte_array_append(out, (const guint8 *)&disk, sizeof disk);
	put_string(out, record->raw, disk.raw_len);
	put_string(out, record->name, disk.name_len);
	put_string(out, record->mailboxid, disk.mailboxid_len);
}

bool
mailbox_decode(struct octets value, struct mailbox_record *record_r)
{
	struct disk_mailbox disk;
	size_t pos = get_fixed(value, &disk, sizeof disk);
	const char *raw = pos != 0 ? get_string(value, &pos, disk.raw_len) : NULL;
	const char *name = raw != NULL ? get_string(value, &pos, disk.name_len) : NULL;
	if (name == NULL)
		return false;
	const char *mailboxid = "";
	bool has_id = disk.fixed >= offsetof(struct disk_mailbox, unused);
	if (has_id && (mailboxid = get_string(value, &pos, disk.mailboxid_len)) == NULL)
		return false;
	*record_r = (struct mailbox_record){
		.parent = disk.parent, .ino = disk.ino, .space = disk.space,
		.uidnext = disk.uidnext, .exists = disk.exists, .uidvalidity = disk.uidvalidity,
		.highestmodseq = disk.highestmodseq, .attrs = disk.attrs,
		.next_recno = disk.next_recno, .messages = disk.messages,
		.children = disk.children, .listed = disk.listed != 0,
		.read_only = disk.read_only != 0, .synced_ns = disk.synced_ns,
		.mtime_ns = disk.mtime_ns, .raw = raw, .raw_len = disk.raw_len, .name = name,
		.name_len = disk.name_len, .compared_ns = disk.compared_ns, .mailboxid = mailboxid,
	};
	return true;
}

void
message_encode(const struct message_record *record, GByteArray *out)
{
	struct disk_message disk = {
		.fixed = sizeof disk, .name_len = (uint16_t)MIN(record->name_len, STRING_MAX),
		.keywords_len = short_len(record->keywords),
		.emailid_len = short_len(record->emailid),
		.threadid_len = short_len(record->threadid),
		.labels_len = short_len(record->labels),
		.uid = record->uid, .flags = record->flags, .state = record->state,
		.ino = record->ino, .size = record->size, .modseq = record->modseq,
		.body = record->body, .mtime = record->mtime, .ctime_ns = record->ctime_ns,
		.told = record->told, .prior = record->prior,
	};
	memcpy(disk.identity, record->identity, sizeof disk.identity);
	g_byte_array_append(out, (const guint8 *)&disk, sizeof disk);
	put_string(out, record->name, disk.name_len);
	put_string(out, record->keywords, disk.keywords_len);
	put_string(out, record->emailid, disk.emailid_len);
	put_string(out, record->threadid, disk.threadid_len);
	put_string(out, record->labels, disk.labels_len);
}

bool
message_decode(struct octets value, struct message_record *record_r)
{
	struct disk_message disk;
	size_t pos = get_fixed(value, &disk, sizeof disk);
	if (pos == 0)
		return false;
	record_r->name = get_string(value, &pos, disk.name_len);
	record_r->keywords = record_r->name ? get_string(value, &pos, disk.keywords_len) : NULL;
	record_r->emailid = record_r->keywords ? get_string(value, &pos, disk.emailid_len) : NULL;
	record_r->threadid = record_r->emailid ? get_string(value, &pos, disk.threadid_len) : NULL;
	record_r->labels = record_r->threadid ? get_string(value, &pos, disk.labels_len) : NULL;
	if (record_r->labels == NULL)
		return false;
	record_r->name_len = disk.name_len;
	record_r->keywords_len = disk.keywords_len;
	record_r->uid = disk.uid;
	record_r->flags = disk.flags;
	record_r->state = disk.state;
	record_r->ino = disk.ino;
	record_r->size = disk.size;
	record_r->mtime = disk.mtime;
	record_r->ctime_ns = disk.ctime_ns;
	record_r->modseq = disk.modseq;
	record_r->body = disk.body;
	record_r->told = disk.told;
	record_r->prior = disk.prior;
	memcpy(record_r->identity, disk.identity, sizeof disk.identity);
	return true;
}

void
inode_encode(const struct inode_record *record, unsigned char out_r[INODE_ROW])
{
	out_r[0] = record->is_message;
	key_u32(out_r + 1, record->mailbox);
	key_u32(out_r + 5, record->recno);
}

bool
inode_decode(struct octets value, struct inode_record *record_r)
{
	const unsigned char *in = value.data;
	if (value.len < INODE_ROW || in[0] > 1)
		return false;
	record_r->is_message = in[0] != 0;
	record_r->mailbox = key_get_u32(in + 1);
	record_r->recno = key_get_u32(in + 5);
	return true;
}

void
journal_encode(const struct journal_record *record, GByteArray *out)
{
	struct disk_journal disk = {
		.fixed = sizeof disk, .target_len = (uint16_t)MIN(record->target_len, STRING_MAX),
		.kind = record->kind, .state = record->state, .policy = record->policy,
		.uidvalidity = record->uidvalidity, .ino = record->ino,
		.target_uidvalidity = record->target_uidvalidity, .created_ns = record->created_ns,
		.mailbox = record->mailbox, .uid = record->uid, .flags_add = record->flags_add,
		.flags_remove = record->flags_remove, .target_uidnext = record->target_uidnext,
		.space = record->space, .recno = record->recno, .attempts = record->attempts,
		.target_uid = record->target_uid, .blob_len = (uint32_t)record->blob.len,
	};
	g_byte_array_append(out, (const guint8 *)&disk, sizeof disk);
	put_string(out, record->target, disk.target_len);
	put_string(out, record->blob.data, disk.blob_len);
}

bool
journal_decode(struct octets value, struct journal_record *record_r)
{
	struct disk_journal disk;
	size_t pos = get_fixed(value, &disk, sizeof disk);
	const char *target = pos != 0 ? get_string(value, &pos, disk.target_len) : NULL;
	const char *blob = target != NULL ? get_string(value, &pos, disk.blob_len) : NULL;
	if (blob == NULL)
		return false;
	*record_r = (struct journal_record){
		.kind = disk.kind, .state = disk.state, .policy = disk.policy,
		.mailbox = disk.mailbox, .uid = disk.uid, .uidvalidity = disk.uidvalidity,
		.ino = disk.ino, .flags_add = disk.flags_add, .flags_remove = disk.flags_remove,
		.target_uidvalidity = disk.target_uidvalidity,
		.target_uidnext = disk.target_uidnext, .created_ns = disk.created_ns,
		.space = disk.space, .recno = disk.recno, .attempts = disk.attempts,
		.target_uid = disk.target_uid, .target = target, .target_len = disk.target_len,
		.blob = { blob, disk.blob_len },
	};
	return true;
}
