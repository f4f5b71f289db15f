/* SPDX-License-Identifier: MIT */
/* INTERNALDATE: see date.h. */
#include "config.h"

#include "imap/date.h"

#include <glib.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define YEAR_9999_END INT64_C(253402300799)

static const char months[12][4] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun",
	                            "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" };

/* Up to `max` digits, at least one. */
static bool
take_number(const char **text, int max, int *number_r)
{
	int number = 0, digits = 0;
	while (digits < max && g_ascii_isdigit(**text)) {
		number = number * 10 + (*(*text)++ - '0');
		digits++;
	}
	*number_r = number;
	return digits > 0;
}

static bool
take_char(const char **text, char c)
{
	if (**text != c)
		return false;
	(*text)++;
	return true;
}

static void
skip_spaces(const char **text)
{
	while (**text == ' ')
		(*text)++;
}

static bool
take_month(const char **text, int *month_r)
{
	for (int i = 0; i < 12; i++)
		if (g_ascii_strncasecmp(*text, months[i], 3) == 0) {
			*text += 3;
			*month_r = i;
			return true;
		}
	return false;
}

/* "+hhmm", a name of UTC, or nothing. */
static bool
take_zone(const char **text, int *seconds_r)
{
	static const char *const names[] = { "UTC", "UT", "GMT", "Z" };
	int hhmm;
	skip_spaces(text);
	*seconds_r = 0;
	if (**text == '\0')
		return true;
	for (size_t i = 0; i < G_N_ELEMENTS(names); i++)
		if (g_ascii_strncasecmp(*text, names[i], strlen(names[i])) == 0) {
			*text += strlen(names[i]);
			return true;
		}
	if (**text != '+' && **text != '-')
		return false;
	int sign = *(*text)++ == '-' ? -1 : 1;
	if (!take_number(text, 4, &hhmm) || hhmm / 100 > 23 || hhmm % 100 > 59)
		return false;
	*seconds_r = sign * (hhmm / 100 * 3600 + hhmm % 100 * 60);
	return true;
}

static int
month_days(int year, int month)
{
	static const int days[12] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
	return days[month] + (month == 1 && leap);
}

static bool
parse(const char *text, int64_t *epoch_r)
{
	struct tm tm = { 0 };
	int year, zone;
	skip_spaces(&text);
	if (!take_number(&text, 2, &tm.tm_mday) || !take_char(&text, '-') ||
	    !take_month(&text, &tm.tm_mon) || !take_char(&text, '-') ||
	    !take_number(&text, 4, &year) || !take_char(&text, ' '))
		return false;
	skip_spaces(&text);
	if (!take_number(&text, 2, &tm.tm_hour) || !take_char(&text, ':') ||
	    !take_number(&text, 2, &tm.tm_min))
		return false;
	if (*text == ':') {
		text++;
		if (!take_number(&text, 2, &tm.tm_sec))
			return false;
	}
	if (!take_zone(&text, &zone))
		return false;
	skip_spaces(&text);
	if (*text != '\0' || year < 1900 || tm.tm_mday < 1 ||
	    tm.tm_mday > month_days(year, tm.tm_mon) || tm.tm_hour > 23 || tm.tm_min > 59 ||
	    tm.tm_sec > 60)
		return false;
	tm.tm_year = year - 1900;
	*epoch_r = (int64_t)timegm(&tm) - zone;
	return true;
}

bool
imap_date_parse(const char *text, size_t len, int64_t *epoch_r)
{
	char copy[64];
	if (len >= sizeof copy || memchr(text, '\0', len) != NULL)
		return false;
	memcpy(copy, text, len);
	copy[len] = '\0';
	return parse(copy, epoch_r);
}

void
imap_date_format(int64_t epoch, char text_r[IMAP_DATE_SIZE])
{
	struct tm tm;
	time_t seconds = (time_t)CLAMP(epoch, 0, YEAR_9999_END);
	gmtime_r(&seconds, &tm);
	snprintf(text_r, IMAP_DATE_SIZE, "%02u-%s-%04u %02u:%02u:%02u +0000",
	         (unsigned)tm.tm_mday % 100, months[tm.tm_mon],
	         (unsigned)(tm.tm_year + 1900) % 10000,
	         (unsigned)tm.tm_hour % 100, (unsigned)tm.tm_min % 100, (unsigned)tm.tm_sec % 100);
}
