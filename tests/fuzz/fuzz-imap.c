/* SPDX-License-Identifier: MIT */
/* The fuzz target: whatever the octets, and however they are divided, the result is the same. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "imap-print.h"

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
	return 0;
}
