/* SPDX-License-Identifier: MIT */
/* Tests of imap/command and imap/date: what is quoted, refused and written. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <glib.h>

#include "imap/command.h"
#include "imap/date.h"
static void
test_commands_quote(void **state)
{
	(void)state;
	struct imap_command *command = imap_command_new("COPY", IMAP_LITERALS_SYNC);
	size_t len;
	bool wait;
	imap_command_set(command, "1:5,7");
	imap_command_open(command);
	imap_command_flag(command, "\\Deleted");
	imap_command_close(command);
	imap_command_mailbox(command, "a \"b\\", 5);
	imap_command_astring(command, "x\r\nA1 DELETE y", 14);
	imap_command_secret(command, "pass", 4);
	assert_true(imap_command_end(command, NULL));
	assert_int_equal(imap_command_pieces(command), 2);
	assert_string_equal(imap_command_piece(command, 0, &len, &wait),
	                    "COPY 1:5,7 (\\Deleted) \"a \\\"b\\\\\" {14}\r\n");
	assert_false(wait);
	assert_string_equal(imap_command_piece(command, 1, &len, &wait),
	                    "x\r\nA1 DELETE y \"pass\"\r\n");
	assert_true(wait);
	assert_null(strstr(imap_command_trace(command), "pass"));
	imap_command_free(&command);
	assert_null(command);
}

static void
test_commands_refuse(void **state)
{
	(void)state;
	static const char *const bad[] = { "", "\\", "a b", "\\Recent", "x\r\n", "\\*", "a)" };
	for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
		struct fault fault;
		struct imap_command *command = imap_command_new("X", IMAP_LITERALS_PLUS);
		imap_command_flag(command, bad[i]);
		assert_false(imap_command_end(command, &fault));
		assert_int_equal(fault.kind, FAULT_INVALID);
		imap_command_free(&command);
	}
	struct imap_command *command = imap_command_new("X", IMAP_LITERALS_PLUS);
	imap_command_astring(command, "a\0b", 3);
	assert_false(imap_command_end(command, NULL));
	imap_command_free(&command);
}

static void
test_dates(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		int64_t time; /* -1: none */
	} table[] = {
		{ "17-Jul-1996 02:44:25 -0700", 837596665 },
		{ " 1-jan-1970 00:00:00 +0000", 0 },
		{ "29-Feb-2024 12:00:00 +0530", 1709188200 },
		{ "01-Jan-2000 10:00", 946720800 },
		{ "00-Jan-0000 00:00:00 +0000", -1 },
		{ "29-Feb-2023 12:00:00 +0000", -1 },
		{ "01-Jan-1899 00:00:00 +0000", -1 },
		{ "01-Foo-2000 00:00:00 +0000", -1 },
		{ "01-Jan-2000 25:00:00 +0000", -1 },
		{ "", -1 },
	};
	for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
		int64_t time = -1;
		imap_date_parse(table[i].text, strlen(table[i].text), &time);
		assert_int_equal(time, table[i].time);
	}
	char text[IMAP_DATE_SIZE];
	imap_date_format(837596665, text);
	assert_string_equal(text, "17-Jul-1996 09:44:25 +0000");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_commands_quote),
		cmocka_unit_test(test_commands_refuse),
		cmocka_unit_test(test_dates),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
