/* SPDX-License-Identifier: MIT */
/* What the parser makes of a server's responses: see imap-print.h. */
#include "config.h"

#include "imap-print.h"

#include <glib.h>
#include <inttypes.h>
#include <string.h>

#include "imap/response.h"

static void
print_octets(const char *str, size_t len, FILE *out)
{
	fputc('"', out);
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)str[i];
		if (c >= ' ' && c < 0x7f && c != '"' && c != '\\')
			fputc(c, out);
		else
			fprintf(out, "\\x%02x", c);
	}
	fputc('"', out);
}

static void
print_arg(const struct imap_arg *arg, FILE *out)
{
	switch (arg->type) {
	case IMAP_ARG_NIL:
		fputs(" NIL", out);
		break;
	case IMAP_ARG_ATOM:
	case IMAP_ARG_STRING:
		fputs(arg->type == IMAP_ARG_ATOM ? " atom" : " string", out);
		print_octets(arg->str, arg->len, out);
		break;
	case IMAP_ARG_STREAMED:
		fprintf(out, " streamed(%" PRIu64 ")", arg->size);
		break;
	case IMAP_ARG_LIST:
		fputs(" (", out);
		for (unsigned i = 0; i < arg->count; i++)
			print_arg(&arg->items[i], out);
		fputs(" )", out);
		break;
	}
}

static void
print_set(const struct seqset *set, FILE *out)
{
	GString *text = g_string_new(NULL);
	seqset_format(set, text);
	fprintf(out, " {%s}", text->str);
	g_string_free(text, TRUE);
}

static void
print_fetch(const struct imap_response *response, FILE *out)
{
	struct imap_fetch fetch;
	if (!imap_fetch_decode(response, &fetch))
		return;
	fprintf(out, " => seq %u uid %u", fetch.seq, fetch.uid);
	if (fetch.has_flags)
		fprintf(out, " flags %x+%u", fetch.flags.bits, fetch.flags.keyword_count);
	if (fetch.has_size)
		fprintf(out, " size %" PRIu64, fetch.size);
	if (fetch.has_internaldate)
		fprintf(out, " date %" PRId64, fetch.internaldate);
	if (fetch.has_modseq)
		fprintf(out, " modseq %" PRIu64, fetch.modseq);
	if (fetch.header != NULL) {
		fputs(" header ", out);
		print_octets(fetch.header, fetch.header_len, out);
	}
	if (fetch.body.state != IMAP_BODY_ABSENT)
		fprintf(out, " body %d size %" PRIu64 " origin %" PRIu64, (int)fetch.body.state,
		        fetch.body.size, fetch.body.has_origin ? fetch.body.origin : 0);
	if (fetch.emailid != NULL)
		fprintf(out, " emailid %s", fetch.emailid);
	if (fetch.has_gm_msgid)
		fprintf(out, " gm %" PRIu64, fetch.gm_msgid);
	for (unsigned i = 0; fetch.has_gm_labels && i < fetch.gm_label_count; i++)
		print_octets(fetch.gm_labels[i], strlen(fetch.gm_labels[i]), out);
}

/* The typed meaning of what is known. */
static void
print_decoded(const struct imap_response *response, FILE *out)
{
	struct seqset *set = seqset_new();
	struct imap_list list;
	struct imap_mailbox_status status;
	struct imap_namespaces spaces;
	struct imap_esearch esearch;
	struct imap_quota quota;
	struct imap_quotaroot root;
	struct imap_caps caps;
	struct imap_copyuid copyuid;
	struct imap_flags flags;
	uint64_t number;
	uint32_t uid;
	bool earlier;
	print_fetch(response, out);
	if (imap_list_decode(response, &list)) {
		fprintf(out, " => attrs %x name ", list.attrs);
		print_octets(list.name, list.name_len, out);
	}
	if (imap_status_decode(response, &status))
		fprintf(out, " => messages %u uidnext %u", status.messages, status.uidnext);
	if (imap_namespaces_decode(response, &spaces))
		fprintf(out, " => personal %u", spaces.personal_count);
	if (imap_search_decode(response, set, &number))
		print_set(set, out);
	if (imap_esearch_decode(response, set, &esearch))
		print_set(set, out);
	if (imap_vanished_decode(response, set, &earlier))
		print_set(set, out);
	if (imap_quota_decode(response, &quota))
		fprintf(out, " => resources %u", quota.count);
	if (imap_quotaroot_decode(response, &root))
		fprintf(out, " => roots %u", root.count);
	if (imap_caps_decode(response, &caps) || imap_enabled_decode(response, &caps))
		fprintf(out, " => caps %" PRIx64 " %s", caps.bits, caps.mechanisms);
	if (imap_copyuid_decode(response, &copyuid))
		fprintf(out, " => copied %u", copyuid.count);
	if (imap_appenduid_decode(response, &number, &uid))
		fprintf(out, " => appended %u", uid);
	if (imap_code_number(response, &number))
		fprintf(out, " => number %" PRIu64, number);
	if (imap_code_flags(response, &flags))
		fprintf(out, " => flags %x+%u", flags.bits, flags.keyword_count);
	if (imap_id_get(response, "name") != NULL)
		fprintf(out, " => id");
	seqset_free(&set);
}

static void
print_response(const struct imap_response *response, FILE *out)
{
	static const char *const kinds[] = { "tagged", "untagged", "continue" };
	fprintf(out, "%s", kinds[response->kind]);
	if (response->tag[0] != '\0')
		print_octets(response->tag, strlen(response->tag), out);
	if (response->has_number)
		fprintf(out, " %u", response->number);
	print_octets(response->name, strlen(response->name), out);
	if (response->code != NULL) {
		fputs(" code", out);
		print_octets(response->code, strlen(response->code), out);
		for (unsigned i = 0; i < response->code_count; i++)
			print_arg(&response->code_args[i], out);
	}
	for (unsigned i = 0; i < response->count; i++)
		print_arg(&response->args[i], out);
	if (response->text_len > 0)
		print_octets(response->text, response->text_len, out);
	print_decoded(response, out);
	fputc('\n', out);
}

/* The line, from 1, that the octet stands in. */
static uint64_t
line_of(const uint8_t *input, uint64_t octet)
{
	uint64_t line = 1;
	for (uint64_t i = 0; i < octet; i++)
		line += input[i] == '\n';
	return line;
}

/* One event. False: it is an error. */
static bool
print_event(struct imap_parser *parser, enum imap_parse what, const uint8_t *input,
            uint64_t *streamed, FILE *out)
{
	size_t len;
	switch (what) {
	case IMAP_PARSE_RESPONSE:
		print_response(imap_parser_response(parser), out);
		return true;
	case IMAP_PARSE_LITERAL_BEGIN:
		fprintf(out, "literal of %s, %" PRIu64 " octets, after",
		        imap_parser_literal(parser)->item, imap_parser_literal(parser)->size);
		print_fetch(imap_parser_response(parser), out);
		fputc('\n', out);
		*streamed = 0;
		return true;
	case IMAP_PARSE_LITERAL_DATA:
		imap_parser_data(parser, &len);
		*streamed += len;
		return true;
	case IMAP_PARSE_LITERAL_END:
		fprintf(out, "end of literal, %" PRIu64 " octets\n", *streamed);
		return true;
	default:
		fprintf(out, "%s at octet %" PRIu64 ", line %" PRIu64 ": ",
		        what == IMAP_PARSE_FATAL ? "fatal" : "skipped", imap_parser_offset(parser),
		        line_of(input, imap_parser_offset(parser)));
		print_octets(imap_parser_error(parser), strlen(imap_parser_error(parser)), out);
		fputc('\n', out);
		return false;
	}
}

bool
imap_print(const uint8_t *data, size_t len, size_t step, FILE *out)
{
	struct imap_parser *parser = imap_parser_new();
	bool ok = true;
	uint64_t streamed = 0;
	enum imap_parse what = IMAP_PARSE_MORE;
	for (size_t at = 0; at < len && what != IMAP_PARSE_FATAL;) {
		size_t end = step == 0 || step > len - at ? len : at + step;
		do {
			size_t used;
			what = imap_parser_feed(parser, (const char *)data + at, end - at, &used);
			at += used;
			if (what != IMAP_PARSE_MORE)
				ok &= print_event(parser, what, data, &streamed, out);
		} while (what != IMAP_PARSE_MORE && what != IMAP_PARSE_FATAL);
	}
	if (what != IMAP_PARSE_FATAL && !imap_parser_idle(parser)) {
		fprintf(out, "the input ends within a response\n");
		ok = false;
	}
	imap_parser_free(&parser);
	return ok;
}
