/* SPDX-License-Identifier: Apache-2.0
 * librecurrentgemma: run RecurrentGemma, Griffin and Hawk inside your own program.
 *
 * The topics, in reading order. Each header opens with a short story and a complete example.
 *
 *     #include <recurrentgemma.h>
 *     #include <stdio.h>
 *
 *     static int print_piece(void *user, const rg_piece *piece)
 *     {
 *         fwrite(piece->text, 1, piece->text_bytes, (FILE *)user);
 *         return RG_CONTINUE;
 *     }
 *
 *     int main(void)
 *     {
 *         rg_error error = RG_ERROR_INIT;
 *         rg_model *model = NULL;
 *         if (rg_model_open(&model, "demo", NULL, &error) != RG_OK) {
 *             fprintf(stderr, "%s\n", error.message);
 *             return 1;
 *         }
 *         rg_state *state = NULL;
 *         rg_state_new(&state, model, NULL);
 *         rg_generate_text(state, "It is a truth", NULL, print_piece, stdout, &error);
 *         rg_state_free(state);
 *         rg_model_close(model);
 *         return 0;
 *     }
 */
#ifndef RECURRENTGEMMA_H
#define RECURRENTGEMMA_H

#include "recurrentgemma/version.h"
#include "recurrentgemma/status.h"
#include "recurrentgemma/host.h"
#include "recurrentgemma/tokenizer.h"
#include "recurrentgemma/model.h"
#include "recurrentgemma/native.h"
#include "recurrentgemma/state.h"
#include "recurrentgemma/infer.h"
#include "recurrentgemma/sampler.h"
#include "recurrentgemma/generate.h"
#include "recurrentgemma/snapshot.h"
#include "recurrentgemma/store.h"
#include "recurrentgemma/backend.h"

#endif
