/* SPDX-License-Identifier: MIT */
/* The log: see log.h. */
#include "config.h"

#include "base/log.h"

#include <glib.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

static const char *program_name = "imapfs";
static atomic_bool use_syslog;
static atomic_bool debug_on;

void
log_init(const char *program)
{
	program_name = program;
}

void
log_to_syslog(void)
{
	openlog(program_name, LOG_PID, LOG_DAEMON);
	atomic_store(&use_syslog, true);
}

void
log_set_debug(bool on)
{
	atomic_store(&debug_on, on);
}

bool
log_debugging(void)
{
	return atomic_load_explicit(&debug_on, memory_order_relaxed);
}

static void
make_printable(char *line)
{
	const char *end;
	while (!g_utf8_validate(line, -1, &end))
		line[end - line] = '?';
	for (; *line != '\0'; line++)
		if ((unsigned char)*line < 0x20 || *line == 0x7f)
			*line = ' ';
}

static void __attribute__((format(printf, 3, 0)))
log_line(int priority, const char *word, const char *fmt, va_list args)
{
	char line[LOG_LINE_MAX];
	vsnprintf(line, sizeof line, fmt, args);
	make_printable(line);
	if (atomic_load(&use_syslog)) {
		syslog(priority, "%s%s", word, line);
		return;
	}
	/* One write a line, so that lines of several threads never mix. */
	char out[LOG_LINE_MAX + 80];
	int len = snprintf(out, sizeof out, "%s: %s%s\n", program_name, word, line);
	if (len > 0 && write(STDERR_FILENO, out, (size_t)len) < 0)
		return; /* nobody listens: there is no better place to say so */
}

#define LOG_BODY(priority, word)                 \
	do {                                     \
		va_list args;                    \
		va_start(args, fmt);             \
		log_line(priority, word, fmt, args); \
		va_end(args);                    \
	} while (0)

void
log_error(const char *fmt, ...)
{
	LOG_BODY(LOG_ERR, "error: ");
}

void
log_warn(const char *fmt, ...)
{
	LOG_BODY(LOG_WARNING, "warning: ");
}

void
log_info(const char *fmt, ...)
{
	LOG_BODY(LOG_INFO, "");
}

void
log_debug(const char *fmt, ...)
{
	if (log_debugging())
		LOG_BODY(LOG_DEBUG, "debug: ");
}
