/* SPDX-License-Identifier: MIT */
/* Faults: see fault.h. */
#include "config.h"

#include "base/fault.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* A server's words end up on a terminal: no escape sequence may survive. */
static void
make_printable(char *text)
{
	for (; *text != '\0'; text++)
		if ((unsigned char)*text < 0x20 || *text == 0x7f)
			*text = ' ';
}

bool
fault_set(struct fault *fault, enum fault_kind kind, const char *fmt, ...)
{
	if (fault == NULL)
		return false;
	/* The arguments may point into the text that is being replaced. */
	char text[FAULT_TEXT_MAX];
	va_list args;
	va_start(args, fmt);
	vsnprintf(text, sizeof text, fmt, args);
	va_end(args);
	make_printable(text);
	fault->kind = kind;
	memcpy(fault->text, text, sizeof text);
	return false;
}

bool
fault_prefix(struct fault *fault, const char *fmt, ...)
{
	if (fault == NULL)
		return false;
	char prefix[FAULT_TEXT_MAX];
	va_list args;
	va_start(args, fmt);
	vsnprintf(prefix, sizeof prefix, fmt, args);
	va_end(args);
	make_printable(prefix);
	size_t used = strlen(prefix);
	if (used + 2 < sizeof prefix) {
		memcpy(prefix + used, ": ", 3);
		used += 2;
		size_t rest = sizeof prefix - used - 1;
		size_t text = strnlen(fault->text, rest);
		memcpy(prefix + used, fault->text, text);
		prefix[used + text] = '\0';
	}
	memcpy(fault->text, prefix, sizeof prefix);
	return false;
}

void
fault_clear(struct fault *fault)
{
	if (fault != NULL) {
		fault->kind = FAULT_NONE;
		fault->text[0] = '\0';
	}
}

const char *
fault_kind_name(enum fault_kind kind)
{
	static const char *const names[] = {
		[FAULT_NONE] = "none",           [FAULT_GONE] = "gone",
		[FAULT_READONLY] = "read-only",  [FAULT_DENIED] = "denied",
		[FAULT_QUOTA] = "over quota",    [FAULT_TOOBIG] = "too big",
		[FAULT_EXISTS] = "exists",       [FAULT_INVALID] = "invalid",
		[FAULT_REFUSED] = "refused",     [FAULT_PROTOCOL] = "protocol",
		[FAULT_BUSY] = "busy",           [FAULT_UNREACHABLE] = "unreachable",
		[FAULT_TIMEOUT] = "timeout",     [FAULT_AUTH] = "login",
		[FAULT_TLS] = "tls",             [FAULT_CACHE] = "cache",
		[FAULT_CANCELLED] = "cancelled", [FAULT_UNSUPPORTED] = "unsupported",
	};
	return kind < sizeof names / sizeof names[0] ? names[kind] : "unknown";
}
