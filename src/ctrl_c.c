/* SPDX-License-Identifier: Apache-2.0
 * Ctrl-C: the first one asks the library to stop at the next token, the second one ends the program. */
#include "ctrl_c.h"

#include <signal.h>
#include <unistd.h>

#include "complain.h"

static rg_interrupt *interrupt; /* set before the handler is, never freed */

static void on_sigint(int signal_number)
{
    (void)signal_number;
    if (rg_interrupt_is_set(interrupt)) _exit(EXIT_INTERRUPTED);
    rg_interrupt_set(interrupt);
}

const rg_interrupt *ctrl_c_catch(void)
{
    if (interrupt) return interrupt;
    interrupt = rg_interrupt_new();
    if (!interrupt) return NULL;
    struct sigaction old;
    if (sigaction(SIGINT, NULL, &old) == 0 && old.sa_handler != SIG_IGN) {
        struct sigaction action = { .sa_handler = on_sigint }; /* no SA_RESTART: a waiting read shall return */
        sigemptyset(&action.sa_mask);
        sigaction(SIGINT, &action, NULL);
    }
    return interrupt;
}

void ctrl_c_catch_ends(void)
{
    static const int ends[] = { SIGTERM, SIGHUP };
    if (!ctrl_c_catch()) return;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        struct sigaction old, action = { .sa_handler = on_sigint };
        sigemptyset(&action.sa_mask);
        if (sigaction(ends[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN) sigaction(ends[i], &action, NULL);
    }
}

bool ctrl_c_pressed(void)
{
    return interrupt && rg_interrupt_is_set(interrupt);
}

void ctrl_c_forget(void)
{
    if (interrupt) rg_interrupt_clear(interrupt);
}
