/* SPDX-License-Identifier: Apache-2.0
 * What the vec_*.h files share. Each defines VL (lanes), VEC_REGISTERS, the type vf, and the same functions on it; a kernel body is
 * written once over them. */
#ifndef RGI_VEC_H
#define RGI_VEC_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* A body that is compiled anew for each set of constant arguments. */
#define VEC_BODY static inline __attribute__((always_inline))
#define VEC_APART __attribute__((noinline)) /* a function of its own */

#if defined(__clang__)
#define VEC_UNROLL _Pragma("clang loop unroll(full)")
#else
#define VEC_UNROLL _Pragma("GCC unroll 16")
#endif

/* Keeps a value in a register: otherwise the compiler loads it again for every use, and loads become the limit. */
#if defined(__x86_64__)
#define VEC_HOLD(v) __asm__("" : "+v"(v))
#elif defined(__aarch64__)
#define VEC_HOLD(v) __asm__("" : "+w"(v))
#else
#define VEC_HOLD(v) ((void)0)
#endif

#endif
