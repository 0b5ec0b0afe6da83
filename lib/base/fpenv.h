/* SPDX-License-Identifier: Apache-2.0
 * The floating-point environment: the library computes in the default one (nearest even, subnormals kept, no traps)
 * whatever the host has set, and gives the host's back. */
#ifndef RGI_FPENV_H
#define RGI_FPENV_H

#include <fenv.h>

typedef fenv_t rgi_fpenv;

static inline void rgi_fpenv_enter(rgi_fpenv *saved)
{
    fegetenv(saved);
    fesetenv(FE_DFL_ENV);
}

/* After a callback: whatever it did, back to the default. */
static inline void rgi_fpenv_default(void) { fesetenv(FE_DFL_ENV); }

static inline void rgi_fpenv_leave(const rgi_fpenv *saved) { fesetenv(saved); }

#endif
