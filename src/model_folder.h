/* SPDX-License-Identifier: Apache-2.0
 * The folder that a model is written into: making it, and never mixing two models in it. */
#ifndef MODEL_FOLDER_H
#define MODEL_FOLDER_H

#include <stdbool.h>
#include <stdint.h>

/* FOLDER/NAME, to be freed; NULL when there is no memory. */
char *model_folder_path(const char *folder, const char *name);

/* Makes the folder, or makes sure that it is empty; if it is not and is_forced, removes the files of the model in it, and leaves others
 * such as tokenizer.model. Then looks whether n_bytes are free there. *is_new: the folder was not there.
 * 0, or EXIT_FAILURE after a complaint, with nothing changed but those files. */
int model_folder_prepare(const char *folder, bool is_forced, uint64_t n_bytes, bool *is_new);

/* Removes the files of a model that was not finished, and the folder if it is new. */
void model_folder_undo(const char *folder, bool is_new);

#endif
