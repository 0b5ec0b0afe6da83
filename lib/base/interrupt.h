/* SPDX-License-Identifier: Apache-2.0
 * The flag behind rg_interrupt. */
#ifndef RGI_INTERRUPT_H
#define RGI_INTERRUPT_H

#include <stdatomic.h>

struct rg_interrupt {
    atomic_int is_set; /* lock-free, so a signal handler may raise it */
};

#endif
