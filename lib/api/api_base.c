/* SPDX-License-Identifier: Apache-2.0
 * Exports: version, status, and what a host may bring. */
#include <recurrentgemma/host.h>

#include <string.h>
#include <xxhash.h>
#if RGI_WITH_SQLITE
#include <sqlite3.h>
#endif

#include "api/info.h"
#include "backend/backend.h"
#include "base/error.h"
#include "base/host.h"
#include "base/interrupt.h"
#include "base/memory.h"

#define TEXT2(number) #number
#define TEXT(number) TEXT2(number)
#define VERSION TEXT(RG_VERSION_MAJOR) "." TEXT(RG_VERSION_MINOR) "." TEXT(RG_VERSION_PATCH)

#define XXHASH "xxhash " TEXT(XXH_VERSION_MAJOR) "." TEXT(XXH_VERSION_MINOR) "." TEXT(XXH_VERSION_RELEASE)
#if RGI_WITH_BLIS
#define BLIS "blis " RGI_BLIS_VERSION ", "
#else
#define BLIS ""
#endif
#if RGI_WITH_SQLITE
#define SQLITE "sqlite " SQLITE_VERSION ", "
#else
#define SQLITE ""
#endif

#if defined(__linux__)
#define SYSTEM "linux"
#else
#define SYSTEM "posix"
#endif
#if defined(__x86_64__)
#define MACHINE "x86_64"
#elif defined(__aarch64__)
#define MACHINE "aarch64"
#elif defined(__i386__)
#define MACHINE "i686"
#else
#define MACHINE "other"
#endif

const char *rg_version(void) { return VERSION; }

int rg_get_build_info(rg_build_info *info)
{
    const rg_build_info full = {
        .struct_size = sizeof full,
        .version = VERSION,
        .compiler = __VERSION__,
        .platform = SYSTEM "-" MACHINE,
        .backends = rgi_backend_names(),
        .dependencies = BLIS SQLITE XXHASH ", yaml " RGI_YAML_VERSION,
        .has_demo = RGI_WITH_DEMO,
        .abi = RG_ABI,
    };
    return RGI_COPY_INFO(info, full);
}

const char *rg_status_name(rg_status status)
{
#define NAME(value) case value: return #value
    switch (status) {
        NAME(RG_OK);
        NAME(RG_AGAIN);
        NAME(RG_INTERRUPTED);
        NAME(RG_ERR_ARGUMENT);
        NAME(RG_ERR_TOKEN);
        NAME(RG_ERR_BUSY);
        NAME(RG_ERR_MEMORY);
        NAME(RG_ERR_LIMIT);
        NAME(RG_ERR_IO);
        NAME(RG_ERR_NOT_FOUND);
        NAME(RG_ERR_PATH);
        NAME(RG_ERR_CONFIG);
        NAME(RG_ERR_FORMAT);
        NAME(RG_ERR_MISSING_TENSOR);
        NAME(RG_ERR_TOKENIZER);
        NAME(RG_ERR_NO_TOKENIZER);
        NAME(RG_ERR_NONFINITE);
        NAME(RG_ERR_BACKEND);
        NAME(RG_ERR_UNSUPPORTED);
        NAME(RG_ERR_BUFFER);
        NAME(RG_ERR_UTF8);
        NAME(RG_ERR_FORKED);
        NAME(RG_ERR_DIALOGUE);
        NAME(RG_ERR_RANGE);
        NAME(RG_ERR_INTERNAL);
        NAME(RG_ERR_STATE_MODEL);
        NAME(RG_ERR_CHECKSUM);
        NAME(RG_ERR_VERSION);
        NAME(RG_ERR_NOT_DURABLE);
        NAME(RG_ERR_MANIFEST);
        NAME(RG_ERR_CONFLICT);
    default: return "RG_ERR_UNKNOWN";
    }
#undef NAME
}

const char *rg_status_text(rg_status status) { return rgi_status_text(status); }

rg_interrupt *rg_interrupt_new(void)
{
    rg_interrupt *interrupt = rgi_alloc(&rgi_system_allocator, sizeof *interrupt);
    if (interrupt) atomic_init(&interrupt->is_set, 0);
    return interrupt;
}

void rg_interrupt_free(rg_interrupt *interrupt) { rgi_free(&rgi_system_allocator, interrupt); }

void rg_interrupt_set(rg_interrupt *interrupt)
{
    if (interrupt) atomic_store_explicit(&interrupt->is_set, 1, memory_order_release);
}

void rg_interrupt_clear(rg_interrupt *interrupt)
{
    if (interrupt) atomic_store_explicit(&interrupt->is_set, 0, memory_order_release);
}

int rg_interrupt_is_set(const rg_interrupt *interrupt) { return rgi_interrupt_is_set(interrupt); }

rg_status rg_allocator_get_default(rg_allocator *allocator)
{
    if (!allocator) return RG_ERR_ARGUMENT;
    *allocator = rgi_system_allocator;
    return RG_OK;
}

rg_status rg_io_get_default(rg_io *io) { return RGI_COPY_INFO(io, rgi_system_io); }

rg_status rg_limits_get_default(rg_limits *limits) { return RGI_COPY_INFO(limits, rgi_default_limits); }
