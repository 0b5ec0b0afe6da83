/* SPDX-License-Identifier: Apache-2.0
 * From a checkpoint to a native file. */
#ifndef RGI_CONVERT_H
#define RGI_CONVERT_H

#include <recurrentgemma/native.h>

#include "base/threads.h"
#include "model/model_files.h"

struct rg_convert_options {
    int type, head_type; /* RG_TYPE_DEFAULT: as they are; as `type` */
    bool may_requantize;
    char *source, *licence;
    char *text; /* for calibration; NULL: none */
    size_t text_bytes;
    rg_convert_report_fn *report;
    void *report_user;
};

/* Threads that convert and verify: the host's, or own ones. */
typedef struct rgi_crew {
    rgi_threads *own;
    rg_parallel_for_fn *run;
    void *user;
    size_t n_hands; /* 1 where the host's own I/O is used, which one thread may do */
} rgi_crew;

bool rgi_crew_init(rgi_crew *crew, const rgi_host *host, const rg_model_options *options);
void rgi_crew_clear(rgi_crew *crew);
/* task(argument, hand) for each hand. */
void rgi_crew_run(const rgi_crew *crew, void (*task)(void *argument, size_t hand), void *argument);

/* As rg_convert; options is not NULL. */
rg_status rgi_convert(const char *path, const char *model, const rgi_host *host, const rg_model_options *host_options, const rg_convert_options *options, rg_error *error);

/* As rg_native_verify. */
rg_status rgi_native_verify(const rgi_checkpoint *checkpoint, const rgi_host *host, const rgi_crew *crew, rg_error *error);

#endif
