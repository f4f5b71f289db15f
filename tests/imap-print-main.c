/* SPDX-License-Identifier: MIT */
/*
 * imap-print [FILE]: what the parser makes of the server's responses in a file
 * (or standard input). Exit status 1 if some of it is not understood.
 */
#include "config.h"

#include <glib.h>
#include <stdio.h>

#include "imap-print.h"

int
main(int argc, char **argv)
{
	FILE *in = argc > 1 ? fopen(argv[1], "rb") : stdin;
	GByteArray *data = g_byte_array_new();
	guint8 buffer[65536];
	size_t len;
	if (in == NULL) {
		perror(argv[1]);
		return 2;
	}
	while ((len = fread(buffer, 1, sizeof buffer, in)) > 0)
		g_byte_array_append(data, buffer, (guint)len);
	bool ok = imap_print(data->data, data->len, 0, stdout);
	if (in != stdin)
		fclose(in);
	g_byte_array_free(data, TRUE);
	return ok ? 0 : 1;
}
