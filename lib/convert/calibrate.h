/* SPDX-License-Identifier: Apache-2.0
 * How large the numbers are that each column of a matrix is multiplied with, over a text: errors of weights that meet large numbers count for more. */
#ifndef RGI_CALIBRATE_H
#define RGI_CALIBRATE_H

#include "convert/convert.h"

/* Mean squares of the inputs of each matrix, by its name. */
typedef struct rgi_calibration {
    struct rgi_calibrated *matrices;
    size_t n;
    char *names;
    float *numbers;
} rgi_calibration;

/* Opens the model and reads the text with it, as one document of at most 2^20 tokens. The source must be one that can be opened and has a tokenizer. Errors as rg_model_open and
 * rg_eval; RG_ERR_NO_TOKENIZER; RG_ERR_ARGUMENT the text has no tokens. On failure *calibration is cleared. */
rg_status rgi_calibrate(rgi_calibration *calibration, const rgi_host *host, const char *model, const rg_model_options *options, const char *text, size_t text_bytes, rg_error *error);
void rgi_calibration_clear(rgi_calibration *calibration, const rgi_host *host);

/* [K] of the matrix of a name, or NULL: nothing is known. */
const float *rgi_calibration_of(const rgi_calibration *calibration, const char *name, uint64_t k);

#endif
