/* SPDX-License-Identifier: MIT */
/*
 * The fuzz target: whatever the octets, and however they are divided, the result is the same; and
 * whatever a mailbox is called, what is shown of it is fit for a directory.
 */
#include "config.h"

#include <glib.h>
#include <stdlib.h>
#include <string.h>

#include "imap-print.h"
#include "imap/names.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static char *
print(const uint8_t *data, size_t len, size_t step, size_t *text_len)
{
	char *text = NULL;
	FILE *out = open_memstream(&text, text_len);
	if (out == NULL)
		abort();
	imap_print(data, len, step, out);
	fclose(out);
	return text;
}

static void
check(bool good)
{
	if (!good)
		abort();
}

static void
check_component(const char *shown)
{
	check(g_utf8_validate(shown, -1, NULL) && strlen(shown) <= IMAP_COMPONENT_MAX);
	check(shown[0] != '\0' && strcmp(shown, ".") != 0 && strcmp(shown, "..") != 0);
	for (const char *c = shown; *c != '\0'; c += g_utf8_skip[(unsigned char)*c])
		check(*c != '/' && !g_unichar_iscntrl(g_utf8_get_char(c)));
}

static bool
is_plain(const char *raw, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (raw[i] < ' ' || raw[i] > '~')
			return false;
	return true;
}

/* A name of one component, unless it had to be cut, leads back to its octets. */
static void
check_name(const char *raw, size_t len, bool utf8)
{
	const struct imap_name_rules rules = { .delimiter = "/", .delimiter_len = 1, .utf8 = utf8 };
	GPtrArray *shown = g_ptr_array_new_with_free_func(g_free);
	if (imap_name_split(&rules, raw, len, shown)) {
		for (guint i = 0; i < shown->len; i++)
			check_component(g_ptr_array_index(shown, i));
		GString *back = g_string_new(NULL);
		const char *first = g_ptr_array_index(shown, 0);
		bool same_codec = utf8 ? g_utf8_validate(raw, (gssize)len, NULL)
		                       : is_plain(raw, len);
		if (shown->len == 1 && strlen(first) < 240 && same_codec && raw[len - 1] != '/' &&
		    !imap_name_is_inbox(raw, len))
			check(imap_name_child(&rules, "", 0, first, back, NULL) &&
			      back->len == len && memcmp(back->str, raw, len) == 0);
		g_string_free(back, TRUE);
	}
	g_ptr_array_free(shown, TRUE);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	size_t whole_len, parts_len;
	if (len == 0)
		return 0;
	char *whole = print(data, len, 0, &whole_len);
	char *parts = print(data, len, 1 + data[0] % 7, &parts_len);
	if (whole_len != parts_len || memcmp(whole, parts, whole_len) != 0)
		abort();
	free(whole);
	free(parts);
	check_name((const char *)data, len, false);
	check_name((const char *)data, len, true);
	return 0;
}
