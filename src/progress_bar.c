/* SPDX-License-Identifier: Apache-2.0
 * One progress bar on stderr, for what takes longer than a second. Nothing is drawn when stderr is not a terminal. */
#include "progress_bar.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <recurrentgemma/host.h>

#include "clock.h"
#include "terminal.h"

#define PATIENCE_SECONDS 1.0  /* before the bar appears */
#define INTERVAL_SECONDS 0.1  /* between two drawings */
#define BAR_CHARACTERS 30

static double began, drawn_at;
static bool is_drawn;

void progress_begin(void)
{
    progress_clear();
    began = drawn_at = clock_seconds();
}

static bool can_draw(void)
{
    const char *term = getenv("TERM");
    return terminal_is(STDERR_FILENO) && term && strcmp(term, "dumb") != 0;
}

static void draw(const char *what, uint64_t done, uint64_t total, double elapsed)
{
    const double share = (double)done / (double)total;
    char bar[BAR_CHARACTERS + 1];
    for (int i = 0; i < BAR_CHARACTERS; i++) bar[i] = (i + 0.5) / BAR_CHARACTERS < share ? '#' : '.';
    bar[BAR_CHARACTERS] = '\0';

    char line[256];
    const int n = snprintf(line, sizeof line, "%s [%s] %3.0f%%  %.0f s left", what, bar, 100 * share,
                           done > 0 ? elapsed * (1 / share - 1) : 0.0);
    size_t bytes = n < 0 ? 0 : (size_t)n < sizeof line ? (size_t)n : sizeof line - 1;
    const size_t columns = terminal_columns(STDERR_FILENO);
    if (bytes >= columns) bytes = columns - 1; /* a line that wraps cannot be wiped */
    fputc('\r', stderr);
    terminal_write_harmless(stderr, line, bytes, false);
    fputs("\033[K", stderr);
    fflush(stderr);
    is_drawn = true;
}

int progress_update(void *user, const char *what, uint64_t done, uint64_t total)
{
    (void)user;
    const double now = clock_seconds();
    if (now - began < PATIENCE_SECONDS || now - drawn_at < INTERVAL_SECONDS) return RG_CONTINUE;
    if (total == 0 || done > total || !can_draw()) return RG_CONTINUE;
    drawn_at = now;
    draw(what, done, total, now - began);
    return RG_CONTINUE;
}

int progress_reading(void *user, const char *what, uint64_t done, uint64_t total)
{
    (void)what;
    return progress_update(user, "reading", done, total);
}

void progress_clear(void)
{
    if (!is_drawn) return;
    fputs("\r\033[K", stderr);
    fflush(stderr);
    is_drawn = false;
}
