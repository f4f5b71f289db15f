/* SPDX-License-Identifier: MIT */
/* Mailbox names: see names.h. */
#include "config.h"

#include "imap/names.h"

#include <string.h>

#include "imap/utf7.h"

#define DIGEST_CHARS 10

/* --- showing ------------------------------------------------------------------------------ */

bool
imap_name_is_inbox(const char *raw, size_t len)
{
	return len == 5 && g_ascii_strncasecmp(raw, "INBOX", 5) == 0;
}

/* What a terminal hides, reorders or acts on. */
static bool
is_hostile(gunichar c)
{
	return c < 0x20 || (c >= 0x7f && c <= 0x9f) || (c >= 0x200b && c <= 0x200f) ||
	       (c >= 0x2028 && c <= 0x202e) || (c >= 0x2060 && c <= 0x206f) || c == 0xfeff ||
	       c == 0x061c || c == 0xad || (c >= 0xfff9 && c <= 0xfffb) ||
	       (c >= 0xe0000 && c <= 0xe0fff);
}

static void
escape_octets(const char *octets, size_t len, GString *out)
{
	for (size_t i = 0; i < len; i++)
		g_string_append_printf(out, "%%%02X", (unsigned char)octets[i]);
}

static bool
is_escape(const char *text, const char *end)
{
	return end - text >= 3 && text[0] == '%' && g_ascii_isxdigit(text[1]) &&
	       g_ascii_isxdigit(text[2]);
}

/* UTF-8 into what is shown. `raw`: it is no decoded text, so `&` and 8-bit octets are escaped. */
static void
escape_component(const char *text, size_t len, bool raw, GString *out)
{
	const char *end = text + len;
	while (text < end) {
		size_t step = raw ? 1 : g_utf8_skip[(unsigned char)*text];
		gunichar c = raw ? (unsigned char)*text : g_utf8_get_char(text);
		bool escape = c == '/' || is_hostile(c) || is_escape(text, end) ||
		              (raw && (c >= 0x80 || c == '&'));
		if (escape)
			escape_octets(text, step, out);
		else
			g_string_append_len(out, text, (gssize)step);
		text += step;
	}
}

static bool
has_8bit(const char *raw, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)raw[i] >= 0x80)
			return true;
	return false;
}

static void
append_digest(const char *raw, size_t len, GString *out)
{
	static const char digits[] = "abcdefghijklmnopqrstuvwxyz234567";
	guint8 digest[32];
	gsize digest_len = sizeof digest;
	GChecksum *sum = g_checksum_new(G_CHECKSUM_SHA256);
	g_checksum_update(sum, (const guchar *)raw, (gssize)len);
	g_checksum_get_digest(sum, digest, &digest_len);
	g_checksum_free(sum);
	for (unsigned i = 0; i < DIGEST_CHARS; i++) {
		unsigned bit = i * 5;
		unsigned pair = (unsigned)digest[bit / 8] << 8 | digest[bit / 8 + 1];
		g_string_append_c(out, digits[pair >> (11 - bit % 8) & 31]);
	}
}

static void
cut_component(const char *raw, size_t len, GString *shown)
{
	if (shown->len <= IMAP_COMPONENT_MAX)
		return;
	size_t keep = IMAP_COMPONENT_MAX - DIGEST_CHARS - 1;
	while (keep > 0 && ((unsigned char)shown->str[keep] & 0xc0) == 0x80)
		keep--;
	g_string_truncate(shown, keep);
	g_string_append_c(shown, '~');
	append_digest(raw, len, shown);
}

/* One component of the name, at the top level or not. */
static char *
show_component(const struct imap_name_rules *rules, const char *raw, size_t len, bool top)
{
	GString *text = g_string_new(NULL), *shown = g_string_new(NULL);
	bool utf8 = (rules->utf8 || has_8bit(raw, len)) && g_utf8_validate(raw, (gssize)len, NULL);
	if (utf8)
		g_string_append_len(text, raw, (gssize)len);
	bool decoded = utf8 || (!rules->utf8 && imap_utf7_to_utf8(raw, len, text));
	if (decoded)
		escape_component(text->str, text->len, false, shown);
	else
		escape_component(raw, len, true, shown);
	if (shown->len == 0)
		g_string_assign(shown, "%00");
	else if (strcmp(shown->str, ".") == 0)
		g_string_assign(shown, "%2E");
	else if (strcmp(shown->str, "..") == 0)
		g_string_assign(shown, "%2E%2E");
	else if (top && strcmp(shown->str, "lost+found") == 0)
		g_string_assign(shown, "%6Cost+found");
	cut_component(raw, len, shown);
	g_string_free(text, TRUE);
	return g_string_free(shown, FALSE);
}

static bool
has_delimiter(const struct imap_name_rules *rules)
{
	return rules->delimiter != NULL && rules->delimiter_len > 0;
}

static const char *
find_delimiter(const struct imap_name_rules *rules, const char *raw, const char *end)
{
	for (; raw + rules->delimiter_len <= end; raw++)
		if (memcmp(raw, rules->delimiter, rules->delimiter_len) == 0)
			return raw;
	return NULL;
}

static bool
starts_with_prefix(const struct imap_name_rules *rules, const char *raw, size_t len)
{
	if (rules->prefix == NULL || rules->prefix_len == 0 || len < rules->prefix_len)
		return false;
	/* A prefix INBOX. is as case-insensitive as INBOX itself. */
	if (rules->prefix_len >= 5 && g_ascii_strncasecmp(rules->prefix, "INBOX", 5) == 0)
		return g_ascii_strncasecmp(raw, rules->prefix, 5) == 0 &&
		       memcmp(raw + 5, rules->prefix + 5, rules->prefix_len - 5) == 0;
	return memcmp(raw, rules->prefix, rules->prefix_len) == 0;
}

bool
imap_name_split(const struct imap_name_rules *rules, const char *raw, size_t len,
                GPtrArray *components)
{
	bool prefixed = starts_with_prefix(rules, raw, len);
	bool top = true;
	if (memchr(raw, '\0', len) != NULL)
		return false;
	if (prefixed) {
		raw += rules->prefix_len;
		len -= rules->prefix_len;
	}
	if (has_delimiter(rules) && len > rules->delimiter_len &&
	    memcmp(raw + len - rules->delimiter_len, rules->delimiter, rules->delimiter_len) == 0)
		len -= rules->delimiter_len;
	if (len == 0)
		return false;
	const char *end = raw + len;
	for (;;) {
		const char *next = has_delimiter(rules) ? find_delimiter(rules, raw, end) : NULL;
		size_t part = (size_t)((next != NULL ? next : end) - raw);
		char *shown;
		if (top && imap_name_is_inbox(raw, part))
			/* Below the prefix it is another mailbox that happens to be called so. */
			shown = g_strdup(prefixed ? "%49NBOX" : "INBOX");
		else
			shown = show_component(rules, raw, part, top);
		g_ptr_array_add(components, shown);
		if (next == NULL)
			return true;
		raw = next + rules->delimiter_len;
		top = false;
	}
}

/* --- and back ----------------------------------------------------------------------------- */

/* Undoes %XX. Returns whether what comes out is the raw name itself and no text to be encoded:
 * `&` is only ever escaped in such, and escaped octets of text are UTF-8. */
static bool
unescape(const char *component, GString *out)
{
	const char *end = component + strlen(component);
	bool ampersand = false, escaped = false;
	while (component < end) {
		if (!is_escape(component, end)) {
			g_string_append_c(out, *component++);
			continue;
		}
		int octet = g_ascii_xdigit_value(component[1]) * 16 +
		            g_ascii_xdigit_value(component[2]);
		ampersand = ampersand || octet == '&';
		escaped = true;
		g_string_append_c(out, (char)octet);
		component += 3;
	}
	return ampersand || (escaped && !g_utf8_validate(out->str, (gssize)out->len, NULL));
}

static bool
refuse(struct fault *fault, const char *component, const char *why)
{
	return fault_set(fault, FAULT_INVALID, "no mailbox can be called \"%.80s\": %s", component,
	                 why);
}

/* The component as the server would have it. */
static bool
component_raw(const struct imap_name_rules *rules, const char *component, GString *raw,
              struct fault *fault)
{
	GString *text = g_string_new(NULL);
	gsize start = raw->len;
	bool plain = unescape(component, text) || rules->utf8;
	bool ok = true;
	if (!g_utf8_validate(component, -1, NULL))
		ok = refuse(fault, component, "it is no UTF-8");
	else if (memchr(text->str, '\0', text->len) != NULL || text->len == 0)
		ok = refuse(fault, component, "it is empty or holds a NUL");
	else if (plain)
		g_string_append_len(raw, text->str, (gssize)text->len);
	else if (!imap_utf7_from_utf8(text->str, text->len, raw))
		ok = refuse(fault, component, "it can't be encoded");
	g_string_free(text, TRUE);
	if (ok && has_delimiter(rules) &&
	    find_delimiter(rules, raw->str + start, raw->str + raw->len) != NULL)
		ok = refuse(fault, component, "it holds the server's separator of names");
	return ok;
}

/* Whether the mailbox will be shown where it was asked for, by the name that was asked for. */
static bool
leads_back(const struct imap_name_rules *rules, const char *parent_raw, size_t parent_len,
           const char *component, const GString *raw)
{
	GPtrArray *parent = g_ptr_array_new_with_free_func(g_free);
	GPtrArray *child = g_ptr_array_new_with_free_func(g_free);
	bool same = (parent_len == 0 || imap_name_split(rules, parent_raw, parent_len, parent)) &&
	            imap_name_split(rules, raw->str, raw->len, child) &&
	            child->len == parent->len + 1 &&
	            strcmp(g_ptr_array_index(child, child->len - 1), component) == 0;
	g_ptr_array_free(parent, TRUE);
	g_ptr_array_free(child, TRUE);
	return same;
}

bool
imap_name_child(const struct imap_name_rules *rules, const char *parent_raw, size_t parent_len,
                const char *component, GString *raw_out, struct fault *fault)
{
	GString *raw = g_string_new(NULL);
	bool top = parent_len == 0, ok = true;
	if (!top && !has_delimiter(rules)) {
		ok = refuse(fault, component, "this server has no mailboxes within mailboxes");
	} else if (top && imap_name_is_inbox(component, strlen(component))) {
		g_string_assign(raw, "INBOX");
	} else {
		if (!top) {
			g_string_append_len(raw, parent_raw, (gssize)parent_len);
			g_string_append_len(raw, rules->delimiter, (gssize)rules->delimiter_len);
		} else if (rules->prefix != NULL) {
			g_string_append_len(raw, rules->prefix, (gssize)rules->prefix_len);
		}
		ok = component_raw(rules, component, raw, fault);
	}
	if (ok && !leads_back(rules, parent_raw, parent_len, component, raw))
		ok = refuse(fault, component, "it would be shown by another name, or elsewhere");
	if (ok)
		g_string_append_len(raw_out, raw->str, (gssize)raw->len);
	g_string_free(raw, TRUE);
	return ok;
}

/* --- the trash ---------------------------------------------------------------------------- */

unsigned
imap_name_trash_rank(const char *shown)
{
	/* The likeliest first: English as programs and providers have it, then the languages. */
	static const char *const names[] = {
		"Trash", "Deleted Items", "Deleted Messages", "Deleted", "Bin", "Rubbish",
		"Papierkorb", "Gelöschte Elemente", "Gelöschte Objekte", "Gelöscht",
		"Corbeille", "Éléments supprimés", "Messages supprimés",
		"Papelera", "Elementos eliminados", "Mensajes eliminados",
		"Cestino", "Posta eliminata", "Elementi eliminati",
		"Lixeira", "Lixo", "Itens excluídos", "Itens eliminados",
		"Prullenbak", "Verwijderde items", "Verwijderde berichten",
		"Papperskorgen", "Borttaget", "Borttagna objekt",
		"Papirkurv", "Slettet post", "Slettede elementer", "Slettede meldinger",
		"Roskakori", "Poistetut", "Poistetut viestit",
		"Kosz", "Elementy usunięte", "Koš", "Odstraněná pošta", "Kôš", "Odstránené",
		"Kuka", "Lomtár", "Törölt elemek", "Coș de gunoi", "Elemente șterse",
		"Корзина", "Удаленные", "Удалённые", "Кошик", "Видалені", "Кошче",
		"Κάδος απορριμμάτων", "Διαγραμμένα", "Çöp Kutusu", "Çöp", "Silinmiş Öğeler",
		"ゴミ箱", "ごみ箱", "削除済みアイテム", "已删除", "已删除邮件", "垃圾箱", "废件箱",
		"已刪除", "刪除的郵件", "휴지통", "지운 편지함", "สิ่งที่ลบ", "ถังขยะ",
		"Thùng rác", "المهملات", "العناصر المحذوفة", "אשפה", "פריטים שנמחקו",
	};
	const char *slash = strrchr(shown, '/');
	char *folded = g_utf8_casefold(slash != NULL ? slash + 1 : shown, -1);
	unsigned rank = 0;
	for (size_t i = 0; rank == 0 && i < G_N_ELEMENTS(names); i++) {
		char *name = g_utf8_casefold(names[i], -1);
		if (strcmp(name, folded) == 0)
			rank = (unsigned)i + 1;
		g_free(name);
	}
	g_free(folded);
	return rank;
}

