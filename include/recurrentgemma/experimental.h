/* SPDX-License-Identifier: Apache-2.0
 * What may change or go with any version; recurrentgemma.h leaves it out.
 *
 * A program that includes this header must be built for the very library it runs with. The verb `bench` of the command lives on it: it
 * gives a model a table of its own, whose functions take the time and hand over to those of a built-in backend.
 *
 *     static const rg_backend_ops *inner;  (rg_backend_builtin("cpu"))
 *     static rg_status timed_matmul(void *self, const rg_matmul_args *args) { ... inner->matmul(self, args) ... }
 *     rg_backend_ops mine = *inner;
 *     mine.matmul = timed_matmul;
 *     rg_model_options_set_backend_ops(options, &mine, RG_BACKEND_ABI);
 */
#ifndef RECURRENTGEMMA_EXPERIMENTAL_H
#define RECURRENTGEMMA_EXPERIMENTAL_H

#include "backend.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * The table of a built-in backend, by the names that rg_model_options_set_backend takes; NULL or "auto": the one chosen by default.
 *
 * Ownership  static; NULL when no built-in backend has that name. Which rung "cpu:RUNG" names is not in the table: rg_backend_options.cpu_mask tells it.
 * Threads    any.
 */
RG_API const rg_backend_ops *rg_backend_builtin(const char *name);

#ifdef __cplusplus
}
#endif
#endif
