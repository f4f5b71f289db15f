/* SPDX-License-Identifier: MIT */
/* Sets of UIDs: see seqset.h. */
#include "config.h"

#include "imap/seqset.h"

#include <stdlib.h>
#include <string.h>

/* So many are added one by one: some servers send a line a number. */
#define FEW_RANGES 8

struct seqset {
	struct seq_range *ranges;
	size_t count, size;
};

struct seqset *
seqset_new(void)
{
	return g_new0(struct seqset, 1);
}

struct seqset *
seqset_copy(const struct seqset *set)
{
	struct seqset *copy = seqset_new();
	copy->count = copy->size = set->count;
	copy->ranges = g_memdup2(set->ranges, set->count * sizeof *set->ranges);
	return copy;
}

void
seqset_free(struct seqset **set)
{
	if (*set == NULL)
		return;
	g_free((*set)->ranges);
	g_free(*set);
	*set = NULL;
}

void
seqset_clear(struct seqset *set)
{
	set->count = 0;
}

static void
append(struct seqset *set, uint32_t first, uint32_t last)
{
	if (set->count == set->size) {
		set->size = set->size == 0 ? 8 : set->size * 2;
		set->ranges = g_renew(struct seq_range, set->ranges, set->size);
	}
	set->ranges[set->count++] = (struct seq_range){ first, last };
}

/* The first range that ends at uid or later. */
static size_t
find(const struct seqset *set, uint32_t uid)
{
	size_t low = 0, high = set->count;
	if (high > 0 && set->ranges[high - 1].last < uid)
		return high;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (set->ranges[middle].last < uid)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

void
seqset_add_range(struct seqset *set, uint32_t first, uint32_t last)
{
	if (first > last) {
		uint32_t swap = first;
		first = last;
		last = swap;
	}
	if (last == 0)
		return;
	first = MAX(first, 1);
	/* Ranges that overlap or touch it are from .. to-1. */
	size_t from = find(set, first > 1 ? first - 1 : 1), to = from;
	while (to < set->count && (last == UINT32_MAX || set->ranges[to].first <= last + 1)) {
		first = MIN(first, set->ranges[to].first);
		last = MAX(last, set->ranges[to].last);
		to++;
	}
	if (from == to) {
		append(set, first, last);
		memmove(set->ranges + from + 1, set->ranges + from,
		        (set->count - 1 - from) * sizeof *set->ranges);
	} else {
		memmove(set->ranges + from + 1, set->ranges + to,
		        (set->count - to) * sizeof *set->ranges);
		set->count -= to - from - 1;
	}
	set->ranges[from] = (struct seq_range){ first, last };
}

void
seqset_add(struct seqset *set, uint32_t uid)
{
	if (uid != 0)
		seqset_add_range(set, uid, uid);
}

static int
compare_ranges(const void *a, const void *b)
{
	const struct seq_range *left = a, *right = b;
	return left->first < right->first ? -1 : left->first > right->first;
}

void
seqset_add_ranges(struct seqset *set, const struct seq_range *ranges, size_t count)
{
	if (count <= FEW_RANGES) {
		for (size_t i = 0; i < count; i++)
			seqset_add_range(set, ranges[i].first, ranges[i].last);
		return;
	}
	struct seq_range *sorted = g_new(struct seq_range, count);
	for (size_t i = 0; i < count; i++)
		sorted[i] = (struct seq_range){ MIN(ranges[i].first, ranges[i].last),
			                        MAX(ranges[i].first, ranges[i].last) };
	qsort(sorted, count, sizeof *sorted, compare_ranges);
	struct seqset *added = seqset_new();
	for (size_t i = 0; i < count; i++)
		seqset_add_range(added, sorted[i].first, sorted[i].last);
	seqset_unite(set, added);
	seqset_free(&added);
	g_free(sorted);
}

/* The set takes over the ranges of another one, which is freed. */
static void
replace(struct seqset *set, struct seqset *with)
{
	g_free(set->ranges);
	*set = *with;
	g_free(with);
}

void
seqset_unite(struct seqset *set, const struct seqset *other)
{
	if (set == other)
		return;
	struct seqset *both = seqset_new();
	size_t i = 0, j = 0;
	while (i < set->count || j < other->count) {
		bool left = j == other->count ||
		            (i < set->count && set->ranges[i].first <= other->ranges[j].first);
		const struct seq_range *next = left ? &set->ranges[i++] : &other->ranges[j++];
		seqset_add_range(both, next->first, next->last);
	}
	replace(set, both);
}

void
seqset_subtract(struct seqset *set, const struct seqset *other)
{
	struct seqset *left = seqset_new();
	size_t at = 0;
	for (size_t i = 0; i < set->count; i++) {
		uint64_t first = set->ranges[i].first, last = set->ranges[i].last;
		while (at < other->count && other->ranges[at].last < first)
			at++;
		for (size_t j = at; first <= last; j++) {
			if (j == other->count || other->ranges[j].first > last) {
				append(left, (uint32_t)first, (uint32_t)last);
				break;
			}
			if (other->ranges[j].first > first)
				append(left, (uint32_t)first, other->ranges[j].first - 1);
			first = (uint64_t)other->ranges[j].last + 1;
		}
	}
	replace(set, left);
}

void
seqset_intersect(struct seqset *set, const struct seqset *other)
{
	struct seqset *both = seqset_new();
	size_t i = 0, j = 0;
	while (i < set->count && j < other->count) {
		uint32_t first = MAX(set->ranges[i].first, other->ranges[j].first);
		uint32_t last = MIN(set->ranges[i].last, other->ranges[j].last);
		if (first <= last)
			append(both, first, last);
		if (set->ranges[i].last < other->ranges[j].last)
			i++;
		else
			j++;
	}
	replace(set, both);
}

void
seqset_remove_range(struct seqset *set, uint32_t first, uint32_t last)
{
	struct seqset *gone = seqset_new();
	seqset_add_range(gone, first, last);
	seqset_subtract(set, gone);
	seqset_free(&gone);
}

void
seqset_remove(struct seqset *set, uint32_t uid)
{
	seqset_remove_range(set, uid, uid);
}

bool
seqset_contains(const struct seqset *set, uint32_t uid)
{
	size_t at = find(set, uid);
	return uid != 0 && at < set->count && set->ranges[at].first <= uid;
}

bool
seqset_is_empty(const struct seqset *set)
{
	return set->count == 0;
}

bool
seqset_equal(const struct seqset *a, const struct seqset *b)
{
	return a->count == b->count &&
	       (a->count == 0 || memcmp(a->ranges, b->ranges, a->count * sizeof *a->ranges) == 0);
}

uint64_t
seqset_count(const struct seqset *set)
{
	uint64_t count = 0;
	for (size_t i = 0; i < set->count; i++)
		count += (uint64_t)set->ranges[i].last - set->ranges[i].first + 1;
	return count;
}

uint32_t
seqset_first(const struct seqset *set)
{
	return set->count > 0 ? set->ranges[0].first : 0;
}

uint32_t
seqset_last(const struct seqset *set)
{
	return set->count > 0 ? set->ranges[set->count - 1].last : 0;
}

uint32_t
seqset_next(const struct seqset *set, uint32_t uid)
{
	if (uid == UINT32_MAX)
		return 0;
	size_t at = find(set, uid + 1);
	return at == set->count ? 0 : MAX(set->ranges[at].first, uid + 1);
}

const struct seq_range *
seqset_ranges(const struct seqset *set, size_t *count_r)
{
	*count_r = set->count;
	return set->ranges;
}

/* --- text --------------------------------------------------------------------------------- */

static bool
parse_uid(const char **pos, const char *end, uint32_t star, uint32_t *uid_r)
{
	uint64_t uid = 0;
	const char *start = *pos;
	if (*pos < end && **pos == '*') {
		(*pos)++;
		*uid_r = star;
		return star != 0;
	}
	for (; *pos < end && g_ascii_isdigit(**pos); (*pos)++) {
		uid = uid * 10 + (uint64_t)(**pos - '0');
		if (uid > UINT32_MAX)
			return false;
	}
	*uid_r = (uint32_t)uid;
	return *pos > start && uid != 0;
}

/* Ranges as they are written, appended to `ranges`. */
static bool
parse_ranges(const char *text, size_t len, uint32_t star, GArray *ranges)
{
	const char *end = text + len;
	for (;;) {
		struct seq_range range;
		if (!parse_uid(&text, end, star, &range.first))
			return false;
		range.last = range.first;
		if (text < end && *text == ':') {
			text++;
			if (!parse_uid(&text, end, star, &range.last))
				return false;
		}
		g_array_append_val(ranges, range);
		if (text == end)
			return true;
		if (*text++ != ',')
			return false;
	}
}

bool
seqset_parse(struct seqset *set, const char *text, size_t len, uint32_t star)
{
	GArray *ranges = g_array_new(FALSE, FALSE, sizeof(struct seq_range));
	bool ok = parse_ranges(text, len, star, ranges);
	if (ok)
		seqset_add_ranges(set, (const struct seq_range *)(void *)ranges->data, ranges->len);
	g_array_free(ranges, TRUE);
	return ok;
}

bool
seqset_parse_ordered(const char *text, size_t len, size_t max, GArray *list)
{
	GArray *ranges = g_array_new(FALSE, FALSE, sizeof(struct seq_range));
	guint before = list->len;
	bool ok = parse_ranges(text, len, 0, ranges);
	uint64_t total = 0;
	for (guint i = 0; ok && i < ranges->len; i++) {
		const struct seq_range *range = &g_array_index(ranges, struct seq_range, i);
		total += (uint64_t)range->last - range->first + 1;
		ok = range->first <= range->last && total <= max;
		for (uint64_t uid = range->first; ok && uid <= range->last; uid++) {
			uint32_t number = (uint32_t)uid;
			g_array_append_val(list, number);
		}
	}
	if (!ok)
		g_array_set_size(list, before);
	g_array_free(ranges, TRUE);
	return ok;
}

static void
format_range(uint32_t first, uint32_t last, bool comma, GString *out)
{
	if (comma)
		g_string_append_c(out, ',');
	g_string_append_printf(out, "%u", first);
	if (last != first)
		g_string_append_printf(out, ":%u", last);
}

void
seqset_format(const struct seqset *set, GString *out)
{
	for (size_t i = 0; i < set->count; i++)
		format_range(set->ranges[i].first, set->ranges[i].last, i > 0, out);
}

bool
seqset_next_chunk(const struct seqset *set, uint32_t *cursor, uint64_t max_uids,
                  size_t max_octets, GString *out)
{
	gsize start = out->len;
	if (*cursor == UINT32_MAX || max_uids == 0)
		return false;
	for (size_t i = find(set, *cursor + 1); i < set->count && max_uids > 0; i++) {
		uint32_t first = MAX(set->ranges[i].first, *cursor + 1);
		uint32_t last = set->ranges[i].last;
		gsize before = out->len;
		if ((uint64_t)last - first + 1 > max_uids)
			last = (uint32_t)(first + max_uids - 1);
		format_range(first, last, before > start, out);
		if (out->len - start > max_octets && before > start) {
			g_string_truncate(out, before);
			break;
		}
		max_uids -= (uint64_t)last - first + 1;
		*cursor = last;
	}
	return out->len > start;
}
