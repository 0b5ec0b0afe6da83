/* SPDX-License-Identifier: Apache-2.0
 * Version numbers, and how symbols are exported.
 *
 * The package version follows semantic versioning. RG_ABI is the number in the soname, apart from the
 * package version: it changes only when a program built against an older header could break.
 *
 *     rg_build_info info;
 *     info.struct_size = sizeof info;
 *     rg_get_build_info(&info);
 *     printf("%s, %s\n", rg_version(), info.backends);
 */
#ifndef RECURRENTGEMMA_VERSION_H
#define RECURRENTGEMMA_VERSION_H

#include <stddef.h>
#include <stdint.h>

#define RG_VERSION_MAJOR 0
#define RG_VERSION_MINOR 1
#define RG_VERSION_PATCH 0
#define RG_ABI 0

#if defined(__GNUC__) || defined(__clang__)
#define RG_API __attribute__((visibility("default")))
#define RG_DEPRECATED(hint) __attribute__((deprecated(hint)))
#else
#define RG_API
#define RG_DEPRECATED(hint)
#endif

#ifdef __cplusplus
extern "C" {
#endif

/** What this library was built with. All strings live as long as the library is loaded. */
typedef struct rg_build_info {
    size_t struct_size;       /**< Set by the caller to sizeof(rg_build_info); on return, the members that are real. */
    const char *version;      /**< "0.1.0" */
    const char *compiler;     /**< The compiler's own version string. */
    const char *platform;     /**< "linux-x86_64" */
    const char *backends;     /**< Comma-separated names that rg_model_options_set_backend takes. */
    const char *dependencies; /**< Libraries linked in, with their versions; empty when there are none. */
    int has_demo;             /**< 1 when the model named "demo" comes with this build: a data file, installed beside the library. rg_model_find tells whether it is there. */
    int abi;                  /**< RG_ABI of the library, to be compared with the header's. */
} rg_build_info;

/** The version of the library that is running, as "0.1.0"; may differ from the header's. Any thread. Since 0.1 */
RG_API const char *rg_version(void);

/**
 * Tell how the running library was built.
 *
 * Errors     RG_ERR_ARGUMENT info is NULL or its struct_size is too small.
 * Since      0.1
 */
RG_API int rg_get_build_info(rg_build_info *info);

#ifdef __cplusplus
}
#endif
#endif
