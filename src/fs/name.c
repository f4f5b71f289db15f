/* SPDX-License-Identifier: MIT */
/* Names of messages: see name.h. GMime decodes fields; plain ASCII needs no decoding. */
#include "config.h"

#include "fs/name.h"

#include <gmime/gmime.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>

#define NAME_SIZE      255u
#define NUMBER_ROOM    12u   /* "~4294967295" */
#define SENDER_MAX     64u   /* octets */
#define DIGEST_CHARS   10u
#define YEAR_2100_END  INT64_C(4133980799)
#define FIELD_MAX      20000u /* octets of a field that are looked at for its words */

enum field_id { FIELD_MESSAGE_ID, FIELD_DATE, FIELD_FROM, FIELD_SUBJECT, FIELD_COUNT };

/* A field's body, unfolded and trimmed; str is NULL if it is missing. */
struct field {
	char *str;
	size_t len;
};

void
name_init(void)
{
	static gsize done;
	if (g_once_init_enter(&done)) {
		g_mime_init();
		g_once_init_leave(&done, 1);
	}
}

/* --- fields ------------------------------------------------------------------------------- */

static int
field_by_name(const char *line, const char *colon)
{
	static const char *const names[FIELD_COUNT] = { "Message-ID", "Date", "From", "Subject" };
	while (colon > line && (colon[-1] == ' ' || colon[-1] == '\t'))
		colon--;
	for (int i = 0; i < FIELD_COUNT; i++)
		if ((size_t)(colon - line) == strlen(names[i]) &&
		    g_ascii_strncasecmp(line, names[i], strlen(names[i])) == 0)
			return i;
	return -1;
}

/* Line ends go, the white space that a fold adds stays; then the ends are trimmed. */
static struct field
unfold(const char *body, size_t len)
{
	struct field field = { g_malloc(len + 1), 0 };
	for (size_t i = 0; i < len; i++)
		if (body[i] != '\r' && body[i] != '\n')
			field.str[field.len++] = body[i];
	while (field.len > 0 && g_ascii_isspace(field.str[field.len - 1]))
		field.len--;
	size_t start = 0;
	while (start < field.len && g_ascii_isspace(field.str[start]))
		start++;
	field.len -= start;
	memmove(field.str, field.str + start, field.len);
	field.str[field.len] = '\0';
	return field;
}

/* The end of the field that begins at line: where the next line that is no continuation begins. */
static const char *
field_end(const char *line, const char *end)
{
	for (;;) {
		const char *newline = memchr(line, '\n', (size_t)(end - line));
		if (newline == NULL)
			return end;
		line = newline + 1;
		if (line == end || (*line != ' ' && *line != '\t'))
			return line;
	}
}

static void
find_fields(const char *header, size_t len, struct field fields_r[FIELD_COUNT])
{
	const char *end = header + len;
	memset(fields_r, 0, FIELD_COUNT * sizeof *fields_r);
	while (header < end && *header != '\r' && *header != '\n') {
		const char *next = field_end(header, end);
		const char *colon = memchr(header, ':', (size_t)(next - header));
		int id = colon != NULL ? field_by_name(header, colon) : -1;
		if (id >= 0 && fields_r[id].str == NULL)
			fields_r[id] = unfold(colon + 1, (size_t)(next - colon) - 1);
		header = next;
	}
}

/* --- the digest --------------------------------------------------------------------------- */

/* Each field with its presence and its length in front, so that no two sets run together. */
static void
compute_identity(const struct field fields[FIELD_COUNT], int64_t internaldate,
                 unsigned char identity_r[NAME_IDENTITY_SIZE])
{
	GChecksum *sum = g_checksum_new(G_CHECKSUM_SHA256);
	gsize size = NAME_IDENTITY_SIZE;
	char head[32];
	for (int i = 0; i < FIELD_COUNT; i++) {
		const struct field *field = &fields[i];
		int used = field->str != NULL ? g_snprintf(head, sizeof head, "+%zu:", field->len)
		                              : g_snprintf(head, sizeof head, "-");
		g_checksum_update(sum, (const guchar *)head, used);
		if (field->str != NULL)
			g_checksum_update(sum, (const guchar *)field->str, (gssize)field->len);
	}
	if (fields[FIELD_MESSAGE_ID].str == NULL) {
		int used = g_snprintf(head, sizeof head, "@%" G_GINT64_FORMAT, internaldate);
		g_checksum_update(sum, (const guchar *)head, used);
	}
	g_checksum_get_digest(sum, identity_r, &size);
	g_checksum_free(sum);
}

static void
append_digest(const unsigned char *digest, GString *out)
{
	static const char digits[] = "abcdefghijklmnopqrstuvwxyz234567";
	for (unsigned i = 0; i < DIGEST_CHARS; i++) {
		unsigned bit = i * 5;
		unsigned pair = (unsigned)digest[bit / 8] << 8 | digest[bit / 8 + 1];
		g_string_append_c(out, digits[pair >> (11 - bit % 8) & 31]);
	}
}

/* --- words -------------------------------------------------------------------------------- */

static bool
is_plain(const char *str, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)str[i] >= 0x80 || (str[i] == '=' && str[i + 1] == '?'))
			return false;
	return true;
}

/* Appends the words of UTF-8, with "-" between them, at most `max` octets of them. */
static void
append_words(const char *text, size_t max, GString *out)
{
	gsize start = out->len;
	bool gap = false;
	for (; *text != '\0'; text += g_utf8_skip[(unsigned char)*text]) {
		gunichar c = g_utf8_get_char(text);
		bool word = c < 0x80 ? g_ascii_isalnum((char)c)
		                     : g_unichar_isalpha(c) || g_unichar_ismark(c) ||
		                               g_unichar_isdigit(c);
		/* A mark needs something to stand on. */
		if (word && (gap || out->len == start) && c >= 0x80 && g_unichar_ismark(c))
			word = false;
		if (!word) {
			gap = out->len > start;
			continue;
		}
		char utf8[6];
		gsize len = (gsize)g_unichar_to_utf8(c, utf8);
		if (out->len - start + len + (gap ? 1 : 0) > max)
			break;
		if (gap)
			g_string_append_c(out, '-');
		gap = false;
		g_string_append_len(out, utf8, (gssize)len);
	}
}

/* 8-bit octets without a label: UTF-8 if they are, else windows-1252. */
static char *
label_text(const char *str, size_t len)
{
	if (g_utf8_validate(str, (gssize)len, NULL))
		return g_strndup(str, len);
	/* Octets that windows-1252 has nothing for become a gap between words. */
	char *text = g_convert_with_fallback(str, (gssize)len, "UTF-8", "WINDOWS-1252", "?", NULL,
	                                     NULL, NULL);
	return text != NULL ? text : g_convert(str, (gssize)len, "UTF-8", "ISO-8859-1", NULL, NULL,
	                                       NULL);
}

/* NULs and control characters separate words like anything else. */
static void
blank_controls(struct field *field)
{
	for (size_t i = 0; i < field->len; i++)
		if ((unsigned char)field->str[i] < 0x20 || field->str[i] == 0x7f)
			field->str[i] = ' ';
	if (field->len > FIELD_MAX) {
		field->len = FIELD_MAX;
		field->str[FIELD_MAX] = '\0';
	}
}

static void
append_decoded(const char *text, size_t max, GString *out)
{
	char *normal = text != NULL ? g_utf8_normalize(text, -1, G_NORMALIZE_NFC) : NULL;
	if (normal != NULL)
		append_words(normal, max, out);
	g_free(normal);
}

static void
append_subject(struct field *field, size_t max, GString *out)
{
	if (field->str == NULL)
		return;
	blank_controls(field);
	if (is_plain(field->str, field->len)) {
		append_words(field->str, max, out);
		return;
	}
	char *labelled = label_text(field->str, field->len);
	char *text = labelled != NULL ? g_mime_utils_header_decode_text(NULL, labelled) : NULL;
	append_decoded(text, max, out);
	g_free(text);
	g_free(labelled);
}

/* "Alice Smith <a@example.org>" without encoding, quotes' escapes, comments or groups: the name's
 * range, or the whole address where there is no name. */
static bool
simple_sender(const struct field *field, const char **start_r, size_t *len_r)
{
	const char *str = field->str;
	if (!is_plain(str, field->len) || strpbrk(str, "\\(,:;") != NULL)
		return false;
	const char *angle = strchr(str, '<');
	if (angle == NULL) {
		*start_r = str;
		*len_r = field->len;
		return strchr(str, '"') == NULL;
	}
	const char *close = strchr(angle, '>');
	if (close == NULL || close[1] != '\0' || strchr(angle + 1, '<') != NULL ||
	    strchr(angle, '"') != NULL)
		return false;
	*start_r = str;
	*len_r = (size_t)(angle - str);
	while (*len_r > 0 && (str[*len_r - 1] == ' ' || str[*len_r - 1] == '"'))
		(*len_r)--;
	if (*len_r == 0 || strspn(str, " \"") >= *len_r) {
		*start_r = angle + 1;
		*len_r = (size_t)(close - angle) - 1;
	}
	return true;
}

static InternetAddress *
first_address(InternetAddressList *list)
{
	for (int i = 0; list != NULL && i < internet_address_list_length(list); i++) {
		InternetAddress *address = internet_address_list_get_address(list, i);
		const char *name = internet_address_get_name(address);
		if (!INTERNET_ADDRESS_IS_GROUP(address) || (name != NULL && *name != '\0'))
			return address;
	}
	return NULL;
}

static void
append_parsed_sender(const struct field *field, GString *out)
{
	char *labelled = label_text(field->str, field->len);
	if (labelled == NULL)
		return;
	InternetAddressList *list = internet_address_list_parse(NULL, labelled);
	InternetAddress *address = first_address(list);
	const char *name = address != NULL ? internet_address_get_name(address) : NULL;
	if (name != NULL && *name != '\0')
		append_decoded(name, SENDER_MAX, out);
	else if (address != NULL && INTERNET_ADDRESS_IS_MAILBOX(address))
		append_decoded(internet_address_mailbox_get_addr(INTERNET_ADDRESS_MAILBOX(address)),
		               SENDER_MAX, out);
	else if (address == NULL)
		append_decoded(labelled, SENDER_MAX, out);
	g_clear_object(&list);
	g_free(labelled);
}

static void
append_sender(struct field *field, GString *out)
{
	const char *start;
	size_t len;
	if (field->str == NULL || field->len == 0)
		return;
	blank_controls(field);
	if (simple_sender(field, &start, &len)) {
		char *text = g_strndup(start, len);
		append_words(text, SENDER_MAX, out);
		g_free(text);
		return;
	}
	gsize before = out->len;
	append_parsed_sender(field, out);
	if (out->len == before && is_plain(field->str, field->len))
		append_words(field->str, SENDER_MAX, out);
}

/* --- the date ----------------------------------------------------------------------------- */

static bool
take_number(const char **text, int digits_min, int digits_max, int *number_r)
{
	int number = 0, digits = 0;
	while (digits < digits_max && g_ascii_isdigit(**text)) {
		number = number * 10 + (*(*text)++ - '0');
		digits++;
	}
	*number_r = number;
	return digits >= digits_min;
}

/* "Fri, 3 May 2024 16:12:05 +0200", as nearly all have it. */
static bool
simple_date(const char *text, int64_t *time_r)
{
	static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	struct tm tm = { 0 };
	int year, zone;
	const char *comma = strchr(text, ',');
	if (comma != NULL)
		text = comma + 1;
	while (*text == ' ')
		text++;
	if (!take_number(&text, 1, 2, &tm.tm_mday) || *text++ != ' ')
		return false;
	for (tm.tm_mon = 0; tm.tm_mon < 12; tm.tm_mon++)
		if (strncmp(months + tm.tm_mon * 3, text, 3) == 0)
			break;
	if (tm.tm_mon == 12 || text[3] != ' ')
		return false;
	text += 4;
	if (!take_number(&text, 4, 4, &year) || *text++ != ' ' ||
	    !take_number(&text, 2, 2, &tm.tm_hour) || *text++ != ':' ||
	    !take_number(&text, 2, 2, &tm.tm_min) || *text++ != ':' ||
	    !take_number(&text, 2, 2, &tm.tm_sec) || *text++ != ' ' ||
	    (*text != '+' && *text != '-'))
		return false;
	int sign = *text++ == '-' ? -1 : 1;
	if (!take_number(&text, 4, 4, &zone) || (*text != '\0' && *text != ' ') ||
	    tm.tm_mday < 1 || tm.tm_mday > 28 || tm.tm_hour > 23 || tm.tm_min > 59 ||
	    tm.tm_sec > 59 || zone / 100 > 14 || zone % 100 > 59 || year < 1970 || year > 2100)
		return false;
	tm.tm_year = year - 1900;
	*time_r = (int64_t)timegm(&tm) - sign * (zone / 100 * 3600 + zone % 100 * 60);
	return true;
}

static void
append_date(struct field *field, int64_t internaldate, GString *out)
{
	int64_t time = internaldate;
	bool known = false;
	if (field->str != NULL) {
		blank_controls(field);
		known = simple_date(field->str, &time);
		if (!known && g_utf8_validate(field->str, (gssize)field->len, NULL)) {
			GDateTime *date = g_mime_utils_header_decode_date(field->str);
			known = date != NULL;
			if (known) {
				time = g_date_time_to_unix(date);
				g_date_time_unref(date);
			}
		}
	}
	if (!known || time < 0 || time > YEAR_2100_END)
		time = internaldate;
	if (time < 0 || time > YEAR_2100_END)
		time = 0;
	struct tm tm;
	time_t seconds = (time_t)time;
	gmtime_r(&seconds, &tm);
	g_string_append_printf(out, "%04d-%02d-%02dT%02d%02d%02d", tm.tm_year + 1900, tm.tm_mon + 1,
	                       tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
}

/* --- names -------------------------------------------------------------------------------- */

void
name_from_header(const char *header, size_t len, int64_t internaldate, GString *name_r,
                 unsigned char identity_r[NAME_IDENTITY_SIZE])
{
	struct field fields[FIELD_COUNT];
	find_fields(header != NULL ? header : "", header != NULL ? len : 0, fields);
	compute_identity(fields, internaldate, identity_r);
	g_string_truncate(name_r, 0);
	append_date(&fields[FIELD_DATE], internaldate, name_r);
	g_string_append_c(name_r, '_');
	append_sender(&fields[FIELD_FROM], name_r);
	g_string_append_c(name_r, '_');
	size_t tail = 1 + DIGEST_CHARS + strlen(".eml") + NUMBER_ROOM;
	append_subject(&fields[FIELD_SUBJECT], NAME_SIZE - tail - name_r->len, name_r);
	g_string_append_c(name_r, '_');
	append_digest(identity_r, name_r);
	g_string_append(name_r, ".eml");
	for (int i = 0; i < FIELD_COUNT; i++)
		g_free(fields[i].str);
}

void
name_from_uid(uint64_t uidvalidity, uint32_t uid, GString *name_r)
{
	g_string_printf(name_r, "%" G_GUINT64_FORMAT ".%u.eml", uidvalidity, uid);
}

void
name_numbered(const char *name, unsigned n, GString *name_r)
{
	size_t len = strlen(name);
	if (g_str_has_suffix(name, ".eml"))
		len -= strlen(".eml");
	g_string_truncate(name_r, 0);
	g_string_append_len(name_r, name, (gssize)len);
	g_string_append_printf(name_r, "~%u.eml", n);
}
