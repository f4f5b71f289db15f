/* SPDX-License-Identifier: MIT */
/*
 * The index against a model of it: random histories of messages that come, change, go, are buried,
 * revived and moved, of mailboxes that are renumbered and deleted, of transactions that fail in the
 * end. After each transaction all of the index is compared with the model. A history is told by its
 * number; CACHE_HISTORIES=n runs more of them.
 */
#include "config.h"

#include "test-cache.h"

#include "cache/env.h"

#define BOXES  3u
#define EMAILS 7u
#define HEADS  5u

struct model_message {
	uint32_t space, recno, uid, name, email, head; /* email, head: 0: none */
	uint64_t ino;
};

struct model_box {
	uint32_t id;               /* 0: not there */
	uint32_t space, building;  /* building 0: none */
	uint32_t next_recno;
};

struct model_tomb {
	uint64_t ino;              /* 0: none */
	uint32_t mailbox, email, head, target_uid;
};

struct model_inode {
	bool there;
	uint32_t mailbox, recno;
};

struct model {
	struct model_box boxes[BOXES];
	GArray *messages, *inodes, *tombs; /* inodes and tombs: by number */
	GArray *retired;                   /* spaces */
	uint32_t next_id, next_space, next_name, next_uid;
	unsigned rng;
};

static GArray *
array_copy(const GArray *array, size_t size)
{
	GArray *copy = g_array_new(FALSE, TRUE, (guint)size);
	if (array != NULL && array->len > 0)
		g_array_append_vals(copy, array->data, array->len);
	return copy;
}

static void
model_free(struct model *model)
{
	g_array_free(model->messages, TRUE);
	g_array_free(model->inodes, TRUE);
	g_array_free(model->tombs, TRUE);
	g_array_free(model->retired, TRUE);
	*model = (struct model){ 0 };
}

static struct model
model_copy(const struct model *model)
{
	struct model copy = *model;
	copy.messages = array_copy(model->messages, sizeof(struct model_message));
	copy.inodes = array_copy(model->inodes, sizeof(struct model_inode));
	copy.tombs = array_copy(model->tombs, sizeof(struct model_tomb));
	copy.retired = array_copy(model->retired, sizeof(uint32_t));
	return copy;
}

static unsigned
draw(struct model *model, unsigned below)
{
	return (unsigned)rand_r(&model->rng) % below;
}

static struct model_message *
message_at(const struct model *model, guint i)
{
	return &g_array_index(model->messages, struct model_message, i);
}

static struct model_message *
message_of(const struct model *model, uint32_t space, uint32_t recno)
{
	for (guint i = 0; i < model->messages->len; i++) {
		struct model_message *message = message_at(model, i);
		if (message->space == space && message->recno == recno)
			return message;
	}
	return NULL;
}

static struct model_inode *
inode_of(const struct model *model, uint64_t ino)
{
	return &g_array_index(model->inodes, struct model_inode, (guint)ino);
}

static struct model_tomb *
tomb_of(const struct model *model, uint64_t ino)
{
	return &g_array_index(model->tombs, struct model_tomb, (guint)ino);
}

static uint64_t
new_ino(struct model *model)
{
	g_array_set_size(model->inodes, model->inodes->len + 1);
	g_array_set_size(model->tombs, model->inodes->len);
	return model->inodes->len - 1;
}

static struct model_box *
box_of(struct model *model, uint32_t id)
{
	for (unsigned i = 0; i < BOXES; i++)
		if (id != 0 && model->boxes[i].id == id)
			return &model->boxes[i];
	return NULL;
}

static struct model_box *
box_of_space(struct model *model, uint32_t space)
{
	for (unsigned i = 0; i < BOXES; i++)
		if (model->boxes[i].id != 0 && (model->boxes[i].space == space ||
		                                model->boxes[i].building == space))
			return &model->boxes[i];
	return NULL;
}

/* --- what the index is told, and what the model makes of it ---------------------------- */

struct text {
	char name[32], email[32];
};

static struct message_record
record_of(const struct model_message *message, struct text *text)
{
	g_snprintf(text->name, sizeof text->name, "n%u.eml", message->name);
	text->email[0] = '\0';
	if (message->email != 0)
		g_snprintf(text->email, sizeof text->email, "M%u", message->email);
	struct message_record record = {
		.space = message->space, .recno = message->recno, .uid = message->uid,
		.ino = message->ino, .size = message->uid, .name = text->name,
		.name_len = strlen(text->name), .emailid = text->email,
	};
	if (message->head != 0)
		memset(record.identity, (int)message->head, sizeof record.identity);
	return record;
}

static bool
lives_elsewhere(struct model *model, uint64_t ino, uint32_t space, uint32_t recno)
{
	const struct model_inode *inode = inode_of(model, ino);
	const struct model_box *box = inode->there ? box_of(model, inode->mailbox) : NULL;
	const struct model_message *there =
		box != NULL ? message_of(model, box->space, inode->recno) : NULL;
	return there != NULL && there->ino == ino &&
	       (there->space != space || there->recno != recno);
}

static bool
put(struct cache_txn *txn, struct model *model, const struct model_box *box,
    const struct model_message *message, struct fault *fault)
{
	struct text text;
	struct message_record record = record_of(message, &text);
	struct model_message *old = message_of(model, message->space, message->recno);
	bool new_ino = old == NULL || old->ino != message->ino;
	if (old != NULL && new_ino &&
	    !lives_elsewhere(model, old->ino, message->space, message->recno))
		inode_of(model, old->ino)->there = false;
	if (new_ino && message->ino != 0)
		*inode_of(model, message->ino) =
			(struct model_inode){ true, box->id, message->recno };
	if (old != NULL)
		*old = *message;
	else
		g_array_append_val(model->messages, *message);
	return txn_message_put(txn, box->id, &record, fault);
}

static void
forget(struct model *model, const struct model_message *gone)
{
	uint64_t ino = gone->ino;
	if (!lives_elsewhere(model, ino, gone->space, gone->recno))
		inode_of(model, ino)->there = false;
	for (guint i = 0; i < model->messages->len; i++)
		if (message_at(model, i)->space == gone->space &&
		    message_at(model, i)->recno == gone->recno) {
			g_array_remove_index(model->messages, i);
			return;
		}
}

static bool
delete(struct cache_txn *txn, struct model *model, const struct model_message *gone,
       struct fault *fault)
{
	struct text text;
	struct message_record record = record_of(gone, &text);
	forget(model, gone);
	return txn_message_delete(txn, &record, fault);
}

static void
bury_in_model(struct model *model, const struct model_message *gone, uint32_t mailbox,
              uint32_t target_uid)
{
	forget(model, gone);
	if (gone->ino != 0 && !inode_of(model, gone->ino)->there)
		*tomb_of(model, gone->ino) = (struct model_tomb){ gone->ino, mailbox, gone->email,
			                                          gone->head, target_uid };
}

static bool
bury(struct cache_txn *txn, struct model *model, const struct model_message *gone,
     struct fault *fault)
{
	struct text text;
	uint32_t target_uid = draw(model, 2) == 0 ? ++model->next_uid : 0;
	const struct tomb_record tomb = {
		.message = record_of(gone, &text), .mailbox = box_of_space(model, gone->space)->id,
		.target_mailbox = 1, .target_uidvalidity = 5, .target_uid = target_uid,
	};
	bury_in_model(model, gone, tomb.mailbox, target_uid);
	return txn_message_bury(txn, &tomb, fault);
}

static bool
put_mailbox(struct cache_txn *txn, const struct model_box *box, struct fault *fault)
{
	char name[32];
	g_snprintf(name, sizeof name, "box%u", box->id);
	const struct mailbox_record record = {
		.id = box->id, .ino = MAILBOX_INO + box->id, .space = box->space, .raw = name,
		.raw_len = strlen(name), .name = name, .name_len = strlen(name),
	};
	return txn_mailbox_put(txn, &record, fault);
}

static bool
retire(struct cache_txn *txn, struct model *model, uint32_t space, struct fault *fault)
{
	if (space != 0)
		g_array_append_val(model->retired, space);
	return txn_space_retire(txn, space, fault);
}

/* --- operations ------------------------------------------------------------------------ */

/* A mailbox, made if it is not there. */
static struct model_box *
any_box(struct cache_txn *txn, struct model *model, struct fault *fault)
{
	struct model_box *box = &model->boxes[draw(model, BOXES)];
	if (box->id != 0)
		return box;
	*box = (struct model_box){ .id = ++model->next_id, .space = ++model->next_space,
		                   .next_recno = 1 };
	return put_mailbox(txn, box, fault) ? box : NULL;
}

/* A message of a present generation that is not being replaced. */
static const struct model_message *
any_message(struct model *model)
{
	for (int tries = 0; model->messages->len > 0 && tries < 20; tries++) {
		const struct model_message *message =
			message_at(model, draw(model, model->messages->len));
		const struct model_box *box = box_of_space(model, message->space);
		if (box != NULL && box->space == message->space && box->building == 0)
			return message;
	}
	return NULL;
}

static struct model_message
new_message(struct model *model, struct model_box *box)
{
	return (struct model_message){
		.space = box->space, .recno = box->next_recno++, .uid = ++model->next_uid,
		.name = ++model->next_name, .email = draw(model, EMAILS),
		.head = draw(model, HEADS),
	};
}

static bool
arrive(struct cache_txn *txn, struct model *model, struct fault *fault)
{
	struct model_box *box = any_box(txn, model, fault);
	if (box == NULL)
		return false;
	struct model_message message = new_message(model, box);
	message.ino = new_ino(model);
	return put(txn, model, box, &message, fault);
}

static bool
change(struct cache_txn *txn, struct model *model, struct fault *fault)
{
	const struct model_message *found = any_message(model);
	if (found == NULL)
		return true;
	struct model_message message = *found;
	unsigned what = draw(model, 32);
	if ((what & 1) != 0)
		message.name = ++model->next_name;
	if ((what & 2) != 0)
		message.uid = ++model->next_uid;
	if ((what & 4) != 0)
		message.email = draw(model, EMAILS);
	if ((what & 8) != 0)
		message.head = draw(model, HEADS);
	if ((what & 16) != 0)
		message.ino = new_ino(model);
	return put(txn, model, box_of_space(model, message.space), &message, fault);
}

static bool
go(struct cache_txn *txn, struct model *model, struct fault *fault)
{
	const struct model_message *found = any_message(model);
	if (found == NULL)
		return true;
	struct model_message message = *found;
	return draw(model, 3) == 0 ? delete(txn, model, &message, fault)
	                           : bury(txn, model, &message, fault);
}

/* The inode number and identities of a message go on as another record. */
static bool
take_over(struct cache_txn *txn, struct model *model, struct model_box *box,
          const struct model_message *from, struct fault *fault)
{
	struct model_message message = new_message(model, box);
	message.ino = from->ino;
	message.email = from->email;
	message.head = from->head;
	return put(txn, model, box, &message, fault);
}

static bool
move(struct cache_txn *txn, struct model *model, struct fault *fault)
{
	struct model_box *box = any_box(txn, model, fault);
	const struct model_message *found = any_message(model);
	if (box == NULL || found == NULL)
		return box != NULL;
	struct model_message old = *found;
	switch (draw(model, 3)) {
	case 0:
		return delete(txn, model, &old, fault) &&
		       take_over(txn, model, box, &old, fault);
	case 1:
		return take_over(txn, model, box, &old, fault) &&
		       delete(txn, model, &old, fault);
	default:
		return take_over(txn, model, box, &old, fault) && bury(txn, model, &old, fault);
	}
}

static bool
revive(struct cache_txn *txn, struct model *model, struct fault *fault)
{
	struct model_box *box = any_box(txn, model, fault);
	for (guint i = 0, at = draw(model, model->tombs->len); i < model->tombs->len; i++) {
		struct model_tomb *tomb = tomb_of(model, (at + i) % model->tombs->len);
		if (box == NULL || tomb->ino == 0)
			continue;
		struct model_message old = { .ino = tomb->ino, .email = tomb->email,
			                     .head = tomb->head };
		tomb->ino = 0;
		return draw(model, 2) == 0 ? txn_tomb_delete(txn, old.ino, fault) &&
		                                     take_over(txn, model, box, &old, fault)
		                           : take_over(txn, model, box, &old, fault) &&
		                                     txn_tomb_delete(txn, old.ino, fault);
	}
	return box != NULL;
}

/* A message of a generation that is gone, but not reaped, turns up somewhere. */
static bool
claim(struct cache_txn *txn, struct model *model, struct fault *fault)
{
	struct model_box *box = any_box(txn, model, fault);
	for (guint i = 0; box != NULL && i < model->messages->len; i++) {
		struct model_message old = *message_at(model, i);
		if (box_of_space(model, old.space) == NULL && old.ino != 0 &&
		    inode_of(model, old.ino)->there && tomb_of(model, old.ino)->ino == 0 &&
		    !lives_elsewhere(model, old.ino, old.space, old.recno))
			return take_over(txn, model, box, &old, fault);
	}
	return box != NULL;
}

/* Some more of a generation is built, from the present one and from what is new. */
static bool
build(struct cache_txn *txn, struct model *model, struct model_box *box, struct fault *fault)
{
	if (box->building == 0)
		box->building = ++model->next_space;
	guint count = model->messages->len;
	for (guint i = 0; i < count; i++) {
		struct model_message message = *message_at(model, i);
		if (message.space != box->space || draw(model, 3) == 0 ||
		    message_of(model, box->building, message.recno) != NULL)
			continue;
		message.space = box->building;
		message.uid = ++model->next_uid;
		message.ino = draw(model, 3) == 0 ? 0 : message.ino;
		if (!put(txn, model, box, &message, fault))
			return false;
	}
	for (unsigned i = draw(model, 3); i > 0; i--) {
		struct model_message message = new_message(model, box);
		message.space = box->building;
		message.ino = draw(model, 2) == 0 ? 0 : new_ino(model);
		if (!put(txn, model, box, &message, fault))
			return false;
	}
	return true;
}

/* What has no inode number yet gets that of its record number, or a new one. */
static bool
finish(struct cache_txn *txn, struct model *model, struct model_box *box, struct fault *fault)
{
	for (guint i = 0; i < model->messages->len; i++) {
		struct model_message message = *message_at(model, i);
		if (message.space != box->building || message.ino != 0)
			continue;
		const struct model_message *old = message_of(model, box->space, message.recno);
		message.ino = old != NULL ? old->ino : new_ino(model);
		if (!put(txn, model, box, &message, fault))
			return false;
	}
	uint32_t former = box->space;
	box->space = box->building;
	box->building = 0;
	return put_mailbox(txn, box, fault) && retire(txn, model, former, fault);
}

static bool
renumber(struct cache_txn *txn, struct model *model, struct fault *fault)
{
	struct model_box *box = any_box(txn, model, fault);
	if (box == NULL)
		return false;
	unsigned what = draw(model, 5);
	if (box->building == 0 || what < 2)
		return build(txn, model, box, fault);
	if (what < 4)
		return finish(txn, model, box, fault);
	uint32_t given_up = box->building;
	box->building = 0;
	return retire(txn, model, given_up, fault);
}

static bool
delete_mailbox(struct cache_txn *txn, struct model *model, struct fault *fault)
{
	struct model_box *box = any_box(txn, model, fault);
	if (box == NULL)
		return false;
	struct model_box gone = *box;
	box->id = 0;
	return retire(txn, model, gone.space, fault) && retire(txn, model, gone.building, fault) &&
	       txn_mailbox_delete(txn, gone.id, fault);
}

/* --- the same is true of both ---------------------------------------------------------- */

/* Sets a fault that says what differs. */
static bool
differs(struct fault *fault, const char *what, uint64_t number)
{
	return fault_set(fault, FAULT_PROTOCOL, "%s %llu differs", what,
	                 (unsigned long long)number);
}

static size_t
rows(struct cache_view *view, MDB_dbi dbi)
{
	MDB_stat stat;
	return mdb_stat(view->txn, dbi, &stat) == 0 ? stat.ms_entries : SIZE_MAX;
}

static bool
same_message(struct cache_view *view, struct model *model, const struct model_message *message,
             struct fault *fault)
{
	struct text text;
	struct message_record expected = record_of(message, &text), got;
	const struct model_inode *inode = inode_of(model, message->ino);
	const struct model_box *box = box_of_space(model, message->space);
	uint32_t mailbox;
	if (!cache_message_get(view, message->space, message->recno, &got) ||
	    got.uid != message->uid || got.ino != message->ino ||
	    strcmp(got.name, expected.name) != 0 || strcmp(got.emailid, expected.emailid) != 0 ||
	    memcmp(got.identity, expected.identity, sizeof got.identity) != 0)
		return differs(fault, "message of UID", message->uid);
	if (!cache_message_by_uid(view, message->space, message->uid, &got) ||
	    got.recno != message->recno)
		return differs(fault, "way to UID", message->uid);
	if (!cache_message_by_name(view, message->space, expected.name, expected.name_len, &got) ||
	    got.recno != message->recno)
		return differs(fault, "name of UID", message->uid);
	bool leads = box != NULL && message->space == box->space && inode->there &&
	             inode->mailbox == box->id && inode->recno == message->recno;
	if (leads && (!cache_message_by_ino(view, message->ino, &mailbox, &got) ||
	              mailbox != box->id || got.uid != message->uid))
		return differs(fault, "inode of UID", message->uid);
	return true;
}

static bool
same_inode(struct cache_view *view, const struct model *model, uint64_t ino, struct fault *fault)
{
	const struct model_inode *expected = inode_of(model, ino);
	const struct model_tomb *tomb = tomb_of(model, ino);
	struct inode_record inode;
	struct tomb_record record;
	uint64_t found;
	bool there = cache_inode_get(view, ino, &inode);
	if (there != expected->there || (there && (!inode.is_message ||
	                                           inode.mailbox != expected->mailbox ||
	                                           inode.recno != expected->recno)))
		return differs(fault, "inode", ino);
	there = cache_tomb_get(view, ino, &record);
	if (there != (tomb->ino != 0) ||
	    (there && (record.mailbox != tomb->mailbox || record.target_uid != tomb->target_uid ||
	               record.message.ino != ino)))
		return differs(fault, "tombstone", ino);
	if (there && tomb->target_uid != 0 &&
	    (!cache_tomb_by_place(view, 1, 5, tomb->target_uid, &found) || found != ino))
		return differs(fault, "target of tombstone", ino);
	return true;
}

/* All that have an identity are found by it, and nothing else. */
static bool
same_ident(struct cache_view *view, const struct model *model, enum cache_ident kind,
           uint32_t value, struct fault *fault)
{
	struct text text;
	bool email = kind == CACHE_IDENT_EMAILID;
	struct model_message like = { .email = email ? value : 0, .head = email ? 0 : value };
	struct message_record record = record_of(&like, &text);
	struct cache_place places[CACHE_IDENT_MAX];
	uint64_t inos[CACHE_IDENT_MAX];
	unsigned count = 0, tombs = 0;
	unsigned found = cache_ident_find(view, kind, &record, places, CACHE_IDENT_MAX);
	unsigned buried = cache_tomb_find(view, kind, &record, inos, CACHE_IDENT_MAX);
	for (guint i = 0; i < model->messages->len; i++) {
		const struct model_message *message = message_at(model, i);
		count += (email ? message->email : message->head) == value;
	}
	for (guint i = 0; i < model->tombs->len; i++) {
		const struct model_tomb *tomb = tomb_of(model, i);
		tombs += tomb->ino != 0 && (email ? tomb->email : tomb->head) == value;
	}
	for (unsigned i = 0; i < found; i++) {
		const struct model_message *message =
			message_of(model, places[i].space, places[i].recno);
		if (message == NULL || (email ? message->email : message->head) != value)
			return differs(fault, "place of identity", value);
	}
	for (unsigned i = 0; i < buried; i++) {
		const struct model_tomb *tomb = tomb_of(model, inos[i]);
		if (tomb->ino == 0 || (email ? tomb->email : tomb->head) != value)
			return differs(fault, "tombstone of identity", value);
	}
	return (found == MIN(count, CACHE_IDENT_MAX) && buried == MIN(tombs, CACHE_IDENT_MAX)) ||
	       differs(fault, "number of those of identity", value);
}

static bool
same_counts(struct cache *cache, struct cache_view *view, struct model *model,
            struct fault *fault)
{
	size_t idents = 0, tombs = 0, inodes = 1;
	for (guint i = 0; i < model->messages->len; i++)
		idents += (message_at(model, i)->email != 0) + (message_at(model, i)->head != 0);
	for (guint i = 0; i < model->tombs->len; i++) {
		const struct model_tomb *tomb = tomb_of(model, i);
		if (tomb->ino != 0) {
			tombs++;
			idents += (tomb->email != 0) + (tomb->head != 0) + (tomb->target_uid != 0);
		}
		inodes += inode_of(model, i)->there;
	}
	for (unsigned i = 0; i < BOXES; i++)
		inodes += model->boxes[i].id != 0;
	const struct {
		MDB_dbi dbi;
		size_t expected;
	} tables[] = {
		{ cache->message, model->messages->len }, { cache->uid, model->messages->len },
		{ cache->name, model->messages->len },    { cache->inode, inodes },
		{ cache->ident, idents },                 { cache->tomb, tombs },
		{ cache->reap, 0 },
	};
	for (size_t i = 0; i < G_N_ELEMENTS(tables); i++)
		if (rows(view, tables[i].dbi) != tables[i].expected)
			return differs(fault, "number of rows of table", i);
	return true;
}

static bool
same(struct cache *cache, struct model *model, struct fault *fault)
{
	struct cache_view *view = cache_view_begin(cache);
	bool ok = same_counts(cache, view, model, fault);
	for (guint i = 0; ok && i < model->messages->len; i++)
		ok = same_message(view, model, message_at(model, i), fault);
	for (guint i = 2; ok && i < model->inodes->len; i++)
		ok = same_inode(view, model, i, fault);
	for (uint32_t value = 1; ok && value < EMAILS; value++)
		ok = same_ident(view, model, CACHE_IDENT_EMAILID, value, fault);
	for (uint32_t value = 1; ok && value < HEADS; value++)
		ok = same_ident(view, model, CACHE_IDENT_HEADER, value, fault);
	cache_view_end(view);
	return ok;
}

/* --- histories ------------------------------------------------------------------------- */

struct step {
	const struct model *before;
	struct model after;
	bool fails;
};

/* In the writer's thread: no asserts here. */
static bool
step_run(struct cache_txn *txn, void *data, struct fault *fault)
{
	static bool (*const operations[])(struct cache_txn *, struct model *, struct fault *) = {
		arrive, arrive, arrive, arrive, change, change, go, move, revive, renumber, claim,
		claim, delete_mailbox,
	};
	struct step *step = data;
	if (step->after.messages != NULL)
		model_free(&step->after);
	step->after = model_copy(step->before);
	struct model *model = &step->after;
	for (unsigned left = 1 + draw(model, 12); left > 0; left--) {
		/* Mailboxes live for a while. */
		unsigned what = draw(model, G_N_ELEMENTS(operations));
		if (operations[what] == delete_mailbox && draw(model, 4) != 0)
			continue;
		if (!operations[what](txn, model, fault))
			return false;
	}
	return !step->fails || fault_set(fault, FAULT_REFUSED, "it is meant to fail");
}

/* What the writer does with a space that is retired, in the order of UIDs. */
static void
reap_space(struct model *model, uint32_t space)
{
	for (;;) {
		const struct model_message *first = NULL;
		for (guint i = 0; i < model->messages->len; i++) {
			const struct model_message *message = message_at(model, i);
			if (message->space == space && (first == NULL || message->uid < first->uid))
				first = message;
		}
		if (first == NULL)
			return;
		struct model_message gone = *first;
		const struct model_inode *inode = inode_of(model, gone.ino);
		if (tomb_of(model, gone.ino)->ino != 0)
			forget(model, &gone);
		else
			bury_in_model(model, &gone, inode->there ? inode->mailbox : 0, 0);
	}
}

static void
reap(struct model *model)
{
	for (uint32_t space = 1; space <= model->next_space; space++)
		for (guint i = 0; i < model->retired->len; i++)
			if (g_array_index(model->retired, uint32_t, i) == space)
				reap_space(model, space);
	g_array_set_size(model->retired, 0);
}

static bool
reaped(struct cache *cache, struct fault *fault)
{
	for (int i = 0; i < 100000 && atomic_load(&cache->reaping); i++)
		usleep(100);
	return !atomic_load(&cache->reaping) && cache_flush(cache, fault);
}

static bool
history_step(struct cache *cache, struct model *model, struct fault *fault)
{
	struct step step = { .before = model, .fails = draw(model, 6) == 0 };
	bool ok = cache_run(cache, step_run, &step, fault);
	if (!ok && step.fails && fault->kind == FAULT_REFUSED) {
		/* As it was; the dice go on. */
		model->rng = step.after.rng;
		model_free(&step.after);
		ok = true;
	} else if (ok) {
		model_free(model);
		*model = step.after;
	}
	ok = ok && cache_check(cache, fault) && reaped(cache, fault);
	reap(model);
	return ok && cache_check(cache, fault) && same(cache, model, fault);
}

static void
test_random_histories(void **state)
{
	(void)state;
	const char *more = getenv("CACHE_HISTORIES");
	unsigned histories = more != NULL ? (unsigned)strtoul(more, NULL, 10) : 40;
	for (unsigned number = 1; number <= histories; number++) {
		struct model model = { .rng = number * 7919 };
		struct fault fault = { 0 };
		void *made;
		assert_int_equal(fixture_setup(&made), 0);
		struct fixture *f = made;
		model = model_copy(&model);
		new_ino(&model); /* 0 and 1 are none of a message */
		new_ino(&model);
		unsigned steps = 0, step_count = 10 + draw(&model, 30);
		bool ok = true;
		for (; ok && steps < step_count; steps++) {
			if (draw(&model, 10) == 0) {
				cache_close(&f->cache);
				fixture_open(f);
				ok = reaped(f->cache, &fault);
			}
			ok = ok && history_step(f->cache, &model, &fault);
		}
		model_free(&model);
		int torn = fixture_teardown(&made);
		if (!ok || torn != 0)
			fail_msg("history %u, transaction %u: %s", number, steps, fault.text);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_random_histories) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
