/* SPDX-License-Identifier: Apache-2.0 */
#include "error.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

int socker_fail(struct socker_error *err, const char *format, ...)
{
	va_list args;

	if (err->text[0])
		return -1;
	va_start(args, format);
	vsnprintf(err->text, sizeof(err->text), format, args);
	va_end(args);
	return -1;
}

int socker_fail_in(struct socker_error *err, const char *format, ...)
{
	char cause[SOCKER_MESSAGE_SIZE];
	char context[SOCKER_MESSAGE_SIZE];
	va_list args;

	va_start(args, format);
	vsnprintf(context, sizeof(context), format, args);
	va_end(args);
	memcpy(cause, err->text, sizeof(cause));
	/* two parts of up to the whole size: cutting the end is what is wanted */
	if (snprintf(err->text, sizeof(err->text), "%.400s: %.600s", context, cause) < 0)
		err->text[0] = '\0';
	return -1;
}

/* The length in bytes of the UTF-8 character at text and its code point; 0 if it is none. */
static size_t utf8_char(const unsigned char *text, unsigned int *point)
{
	static const struct {
		unsigned char mask, lead;
		unsigned int least;
	} forms[] = {{0x80, 0x00, 0}, {0xe0, 0xc0, 0x80}, {0xf0, 0xe0, 0x800}, {0xf8, 0xf0, 0x10000}};

	for (size_t form = 0; form < 4; form++) {
		if ((text[0] & forms[form].mask) != forms[form].lead)
			continue;
		*point = text[0] & (unsigned char)~forms[form].mask;
		for (size_t i = 1; i <= form; i++) {
			if ((text[i] & 0xc0) != 0x80)
				return 0;
			*point = *point << 6 | (text[i] & 0x3f);
		}
		if (*point < forms[form].least || *point > 0x10ffff || (*point >= 0xd800 && *point <= 0xdfff))
			return 0;
		return form + 1;
	}
	return 0;
}

static bool point_is_harmless(unsigned int point)
{
	if (point < 0x20 || (point >= 0x7f && point < 0xa0))
		return false;
	if (point == 0x061c || point == 0x200e || point == 0x200f || point == 0x2028 || point == 0x2029)
		return false;
	return !((point >= 0x202a && point <= 0x202e) || (point >= 0x2066 && point <= 0x2069));
}

void socker_printable(char *out, size_t size, const char *text)
{
	const unsigned char *in = (const unsigned char *)text;
	size_t used = 0;

	while (*in) {
		unsigned int point = 0;
		size_t length = utf8_char(in, &point);

		if (length && point_is_harmless(point)) {
			if (used + length >= size)
				break;
			memcpy(out + used, in, length);
			used += length;
			in += length;
			continue;
		}
		if (!length)
			length = 1;
		if (used + 4 * length >= size)
			break;
		for (size_t i = 0; i < length; i++)
			used += (size_t)snprintf(out + used, size - used, "\\x%02x", in[i]);
		in += length;
	}
	out[used] = '\0';
}
