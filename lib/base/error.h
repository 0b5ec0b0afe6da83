/* SPDX-License-Identifier: Apache-2.0
 * Filling in a caller's rg_error. */
#ifndef RGI_ERROR_H
#define RGI_ERROR_H

#include <recurrentgemma/status.h>

#if defined(__GNUC__)
#define RGI_PRINTF(text, first) __attribute__((format(printf, text, first)))
#else
#define RGI_PRINTF(text, first)
#endif

/* Fills *error (may be NULL, or smaller than today's) and returns status. Bytes below 0x20 and 0x7f become \xNN. A message that is too long
 * is cut between characters: in the middle of its subject, where the format begins with "%s" (a path, mostly), so that the reason stays;
 * otherwise at its end. Formats use no floating point, which would depend on the host's locale. */
rg_status rgi_fail(rg_error *error, rg_status status, uint64_t offset, const char *format, ...) RGI_PRINTF(4, 5);

/* The same for a failed file operation; `operation` is a verb such as "read". Returns RG_ERR_NOT_FOUND, RG_ERR_MEMORY or RG_ERR_IO. */
rg_status rgi_fail_io(rg_error *error, rg_status status, int system_error, const char *operation, const char *path);

/* What goes behind a failed operation: ": permission denied (system error 13)"; numbers without words stand alone, and 0 is nothing. Returns text. */
#define RGI_SYSTEM_TEXT_BYTES 96
const char *rgi_system_text(char text[RGI_SYSTEM_TEXT_BYTES], int system_error);

/* Gives a caller's *to (may be NULL, or smaller than today's) what a worker's *from holds. */
void rgi_copy_error(rg_error *to, const rg_error *from);

/* The text of rg_status_text. */
const char *rgi_status_text(rg_status status);

/* For a status without more to say. */
rg_status rgi_fail_plain(rg_error *error, rg_status status);

#endif
