/* SPDX-License-Identifier: MIT */
/*
 * A set of UIDs (or message numbers), kept as ascending ranges that neither overlap nor touch:
 * {1..5, 7}, written `1:5,7` (RFC 3501, sequence-set). A range costs 8 octets however long it is,
 * and no call expands one, so that `1:4294967294` from a server does no harm. 0 is never a member.
 *
 * Adding in ascending order is constant time, elsewhere linear in the number of ranges; what comes
 * as a whole (seqset_add_ranges, seqset_parse) is sorted first.
 */
#ifndef IMAP_SEQSET_H
#define IMAP_SEQSET_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct seqset;

struct seq_range {
	uint32_t first, last; /* both included; 1 <= first <= last */
};

struct seqset *seqset_new(void);
struct seqset *seqset_copy(const struct seqset *set);
/* Frees *set and sets it to NULL; NULL is accepted. */
void seqset_free(struct seqset **set);
void seqset_clear(struct seqset *set);

/* Zero is ignored; the ends of a range may come in either order. */
void seqset_add(struct seqset *set, uint32_t uid);
void seqset_add_range(struct seqset *set, uint32_t first, uint32_t last);
void seqset_add_ranges(struct seqset *set, const struct seq_range *ranges, size_t count);
void seqset_remove(struct seqset *set, uint32_t uid);
void seqset_remove_range(struct seqset *set, uint32_t first, uint32_t last);

/* set = set with other's members too; without them; only those in both. other may be set. */
void seqset_unite(struct seqset *set, const struct seqset *other);
void seqset_subtract(struct seqset *set, const struct seqset *other);
void seqset_intersect(struct seqset *set, const struct seqset *other);

bool seqset_contains(const struct seqset *set, uint32_t uid);
bool seqset_is_empty(const struct seqset *set);
bool seqset_equal(const struct seqset *a, const struct seqset *b);
/* How many members. */
uint64_t seqset_count(const struct seqset *set);
/* The least and greatest member, 0 when empty. */
uint32_t seqset_first(const struct seqset *set);
uint32_t seqset_last(const struct seqset *set);
/* The least member greater than uid, 0 when there is none:
 * for (uid = seqset_next(set, 0); uid != 0; uid = seqset_next(set, uid)) */
uint32_t seqset_next(const struct seqset *set, uint32_t uid);
/* The ranges, ascending. Valid until the set changes. */
const struct seq_range *seqset_ranges(const struct seqset *set, size_t *count_r);

/*
 * Adds what a server wrote: numbers and ranges in any order, overlapping, ends in any order.
 * `*` stands for `star`; with star 0 it is refused. An empty text, a 0, a number over 32 bits or
 * anything else is refused: false, and the set is as before.
 */
bool seqset_parse(struct seqset *set, const char *text, size_t len, uint32_t star);

/* Appends the whole set to out. Nothing for an empty set. */
void seqset_format(const struct seqset *set, GString *out);

/*
 * Appends to out the next part of the set: members greater than *cursor, at most max_uids of them
 * and at most max_octets of text (at least one member is always written), ascending. Moves *cursor
 * (0 at the start) to the last one written. False: there was nothing left, out is as before.
 */
bool seqset_next_chunk(const struct seqset *set, uint32_t *cursor, uint64_t max_uids,
                       size_t max_octets, GString *out);

/*
 * The members of `5,3,7:9` in the order they are written, as COPYUID pairs them (RFC 4315): appends
 * uint32_t to list. False (and list as before) when it isn't a set, names 0 or `*`, has a range
 * that goes down (which order is meant isn't known), or has more than max members.
 */
bool seqset_parse_ordered(const char *text, size_t len, size_t max, GArray *list);

#endif
