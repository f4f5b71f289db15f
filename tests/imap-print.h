/* SPDX-License-Identifier: MIT */
/* Prints what the parser makes of a server's responses; also the fuzzer's entry. */
#ifndef TESTS_IMAP_PRINT_H
#define TESTS_IMAP_PRINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Feeds the parser `step` octets at a time (0: all at once) and prints a line an event. False: some
 * of it was not understood; the place is printed. */
bool imap_print(const uint8_t *data, size_t len, size_t step, FILE *out);

#endif
