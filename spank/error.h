/* SPDX-License-Identifier: Apache-2.0 */
/* The one way a failure travels: 0 or -1, and a line of text that belongs to the caller. */
#ifndef SOCKER_ERROR_H
#define SOCKER_ERROR_H

#include <stddef.h>

#include "wire.h"

struct socker_error {
	char text[SOCKER_MESSAGE_SIZE]; /* empty: no failure */
};

/* Fills err unless it is filled already (the first cause is the one to tell). Returns -1. `%m` is errno's text. */
int socker_fail(struct socker_error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Puts "context: " in front of a filled err. Returns -1. */
int socker_fail_in(struct socker_error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

/*
 * Copies text into out (size bytes, NUL-terminated): C0, C1 and DEL become \xNN, the bidirectional controls and
 * bytes that are not UTF-8 likewise, and what is too long is cut between characters.
 */
void socker_printable(char *out, size_t size, const char *text);

#endif
