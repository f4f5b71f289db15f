/* SPDX-License-Identifier: MIT */
/* Modified UTF-7: see utf7.h. */
#include "config.h"

#include "imap/utf7.h"

#include <stdint.h>
#include <string.h>

static const char base64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,";

static bool
is_plain(char c)
{
	return c >= 0x20 && c <= 0x7e;
}

static void
encode_unit(uint32_t *bits, int *count, unsigned unit, GString *out)
{
	*bits = *bits << 16 | unit;
	for (*count += 16; *count >= 6; *count -= 6)
		g_string_append_c(out, base64[*bits >> (*count - 6) & 63]);
	*bits &= (1u << *count) - 1;
}

/* A run of characters that are not plain. Returns its end. */
static const char *
encode_run(const char *in, const char *end, GString *out)
{
	uint32_t bits = 0;
	int count = 0;
	g_string_append_c(out, '&');
	while (in < end && !is_plain(*in)) {
		gunichar c = g_utf8_get_char(in);
		if (c >= 0x10000) {
			encode_unit(&bits, &count, 0xd800 + ((c - 0x10000) >> 10), out);
			encode_unit(&bits, &count, 0xdc00 + ((c - 0x10000) & 0x3ff), out);
		} else {
			encode_unit(&bits, &count, c, out);
		}
		in += g_utf8_skip[(unsigned char)*in];
	}
	if (count > 0)
		g_string_append_c(out, base64[bits << (6 - count) & 63]);
	g_string_append_c(out, '-');
	return in;
}

bool
imap_utf7_from_utf8(const char *in, size_t len, GString *out)
{
	const char *end = in + len;
	if (!g_utf8_validate(in, (gssize)len, NULL))
		return false;
	while (in < end) {
		if (!is_plain(*in)) {
			in = encode_run(in, end, out);
			continue;
		}
		g_string_append_c(out, *in);
		if (*in++ == '&')
			g_string_append_c(out, '-');
	}
	return true;
}

/* The base64 from in up to its "-". Returns the place behind it, or NULL. */
static const char *
decode_shifted(const char *in, const char *end, GString *out)
{
	uint32_t bits = 0, high = 0;
	int count = 0;
	for (; in < end && *in != '-'; in++) {
		const char *digit = *in != '\0' ? strchr(base64, *in) : NULL;
		if (digit == NULL)
			return NULL;
		bits = bits << 6 | (uint32_t)(digit - base64);
		count += 6;
		if (count < 16)
			continue;
		count -= 16;
		uint32_t unit = bits >> count & 0xffff;
		bits &= (1u << count) - 1;
		if (high != 0) {
			if (unit < 0xdc00 || unit > 0xdfff)
				return NULL;
			g_string_append_unichar(out, 0x10000 + ((high - 0xd800) << 10) +
			                                     (unit - 0xdc00));
			high = 0;
		} else if (unit >= 0xd800 && unit <= 0xdbff) {
			high = unit;
		} else if ((unit >= 0xdc00 && unit <= 0xdfff) || unit == 0) {
			return NULL;
		} else {
			g_string_append_unichar(out, unit);
		}
	}
	return in < end && high == 0 ? in + 1 : NULL;
}

static bool
decode(const char *in, const char *end, GString *out)
{
	while (in < end) {
		if (!is_plain(*in))
			return false;
		if (*in != '&') {
			g_string_append_c(out, *in++);
			continue;
		}
		in++;
		if (in < end && *in == '-') {
			g_string_append_c(out, '&');
			in++;
		} else if ((in = decode_shifted(in, end, out)) == NULL) {
			return false;
		}
	}
	return true;
}

bool
imap_utf7_to_utf8(const char *in, size_t len, GString *out)
{
	gsize before = out->len;
	GString *again = g_string_new(NULL);
	/* What has several spellings is valid in the one that the encoder makes. */
	bool valid = decode(in, in + len, out) &&
	             imap_utf7_from_utf8(out->str + before, out->len - before, again) &&
	             again->len == len && memcmp(again->str, in, len) == 0;
	g_string_free(again, TRUE);
	if (!valid)
		g_string_truncate(out, before);
	return valid;
}
