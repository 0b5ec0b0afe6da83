/* SPDX-License-Identifier: Apache-2.0
 * One progress bar on stderr, for what takes longer than a second. Nothing is drawn when stderr is not a terminal. */
#ifndef PROGRESS_BAR_H
#define PROGRESS_BAR_H

#include <stdint.h>

/* Something that may take long begins now. */
void progress_begin(void);

/* How far it is; an rg_progress_fn, so that the library can be given it. user is not used. Always returns RG_CONTINUE. */
int progress_update(void *user, const char *what, uint64_t done, uint64_t total);

/* The same for evaluation, where the library says "tokens" and a person reads better that the text is being read. */
int progress_reading(void *user, const char *what, uint64_t done, uint64_t total);

/* Wipes the bar, if there is one, before something else is written. */
void progress_clear(void);

#endif
