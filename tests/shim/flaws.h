/* SPDX-License-Identifier: Apache-2.0 */
/* One of each that a sanitizer must find: `run` calls them to prove that it does. Only in the sanitized module. */
void flaw_overflow(void);
void flaw_undefined(void);
void flaw_leak(void);
