/* SPDX-License-Identifier: Apache-2.0
 * What this processor, and the system on it, can do. */
#include "backend/cpu/cpu_features.h"

#include <stdbool.h>

#if defined(__x86_64__)

#include <cpuid.h>
#include <errno.h>

#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

/* Which register files the system saves: without that bit an instruction would fault. */
static uint64_t saved_registers(void)
{
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

/* Asks Linux to let this process use the registers of tiles, which it wants to be asked for because they make a thread's state 8 KiB larger;
 * Documentation/arch/x86/xstate.rst. Once granted it holds for all threads, and asking again changes nothing. Refused, for one, where a thread's
 * signal stack would be too small, and by kernels that know no tiles: then there are none. */
static bool may_use_tiles(void)
{
#if defined(__linux__) && defined(SYS_arch_prctl)
    const long request_permission = 0x1023, tile_data = 18; /* ARCH_REQ_XCOMP_PERM, XFEATURE_XTILE_DATA */
    const int before = errno;
    const bool is_granted = syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
    errno = before;
    return is_granted;
#else
    return false;
#endif
}

#define HAS_ALL(word, bits) (((word) & (bits)) == (bits))

uint32_t rgi_cpu_features(void)
{
    uint32_t eax, ebx, ecx, edx, found = 0;
    if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx)) return 0;
    const uint32_t fma_xsave_avx_f16c = 1u << 12 | 1u << 27 | 1u << 28 | 1u << 29;
    if (!HAS_ALL(ecx, fma_xsave_avx_f16c)) return 0;
    const uint64_t saved = saved_registers();
    if (!HAS_ALL(saved, 0x6u)) return 0; /* SSE and AVX */
    if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx)) return 0;
    if (ebx & 1u << 5) found |= RG_CPU_AVX2;
    const uint32_t f_dq_bw_vl = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31;
    if (!HAS_ALL(ebx, f_dq_bw_vl) || !HAS_ALL(saved, 0xe6u)) return found; /* and opmask and both halves of ZMM */
    found |= RG_CPU_AVX512;
    const uint32_t n_leaves = eax, bf16_and_tile = 1u << 22 | 1u << 24;
    if (HAS_ALL(edx, bf16_and_tile) && HAS_ALL(saved, 0x60000u) && may_use_tiles()) found |= RG_CPU_AMX_BF16;
    if (n_leaves >= 1 && __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) && (eax & 1u << 5)) found |= RG_CPU_AVX512_BF16;
    return found;
}

#elif defined(__aarch64__)

#if defined(__linux__)
#include <sys/auxv.h>
#endif

uint32_t rgi_cpu_features(void)
{
    uint32_t found = RG_CPU_NEON; /* every aarch64 processor has it */
#if defined(__linux__)
    if (getauxval(AT_HWCAP2) & 1ul << 14) found |= RG_CPU_NEON_BF16; /* HWCAP2_BF16; a name that older headers lack */
#endif
    return found;
}

#else

uint32_t rgi_cpu_features(void) { return 0; }

#endif
