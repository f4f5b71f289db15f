/* SPDX-License-Identifier: MIT */
/*
 * The log: one line an event, to standard error in the foreground and to
 * syslog once the program is in the background.
 *
 * Every line is made printable (control characters and invalid UTF-8 are
 * replaced) and is never longer than LOG_LINE_MAX. Secrets never reach the log:
 * who traces the protocol masks them before (session/conn.h).
 *
 * All functions may be called from any thread.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>

#define LOG_LINE_MAX 1000

/* The name put in front of each line on standard error. The string must stay valid. */
void log_init(const char *program);

/* From now on lines go to syslog (LOG_DAEMON) instead of standard error. */
void log_to_syslog(void);

/* Whether log_debug prints anything (option -d). */
void log_set_debug(bool on);
bool log_debugging(void);

void log_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_warn(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_info(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_debug(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
