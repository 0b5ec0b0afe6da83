/* SPDX-License-Identifier: Apache-2.0
 * Ctrl-C: the first one asks the library to stop at the next token, the second one ends the program. */
#ifndef CTRL_C_H
#define CTRL_C_H

#include <stdbool.h>

#include <recurrentgemma/host.h>

/* Catches SIGINT from now on, unless the program was started with it ignored (as a shell does for background jobs).
 * Returns the flag to be given to the library; it lives as long as the program. NULL when there is no memory. */
const rg_interrupt *ctrl_c_catch(void);
/* The same for SIGTERM and SIGHUP from now on: for verbs that would leave a large unfinished file. */
void ctrl_c_catch_ends(void);

/* Whether Ctrl-C was pressed since ctrl_c_forget. */
bool ctrl_c_pressed(void);

/* Ready for the next one. */
void ctrl_c_forget(void);

#endif
