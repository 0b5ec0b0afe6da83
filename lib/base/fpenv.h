/* SPDX-License-Identifier: Apache-2.0
 * The floating-point environment: the library computes in the default one (nearest even, subnormals kept, no traps)
 * whatever the host has set, and gives the host's back. */
#ifndef RGI_FPENV_H
#define RGI_FPENV_H

#include <fenv.h>
#include <stdint.h>

typedef fenv_t rgi_fpenv;

/* After a callback: whatever it did, back to the default. */
static inline void rgi_fpenv_default(void)
{
    fesetenv(FE_DFL_ENV);
#if defined(__aarch64__)
    /* glibc leaves some bits as they are: AHP, another format of 16 bits; EBF, other arithmetic of bfloat16 products; DN. */
    __asm__ volatile("msr fpcr, %0" : : "r"((uint64_t)0) : "memory");
#endif
}

static inline void rgi_fpenv_enter(rgi_fpenv *saved)
{
    fegetenv(saved);
    rgi_fpenv_default();
}

static inline void rgi_fpenv_leave(const rgi_fpenv *saved) { fesetenv(saved); }

#endif
