/* SPDX-License-Identifier: Apache-2.0
 * For LD_PRELOAD: programs that choose no backend get the one that RG_TEST_BACKEND names. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>

#include <recurrentgemma/model.h>

rg_model_options *rg_model_options_new(void)
{
    rg_model_options *(*make)(void) = (rg_model_options * (*)(void)) dlsym(RTLD_NEXT, "rg_model_options_new");
    rg_model_options *options = make();
    if (options) (void)rg_model_options_set_backend(options, getenv("RG_TEST_BACKEND"));
    return options;
}

rg_status rg_model_open(rg_model **model, const char *path, const rg_model_options *options, rg_error *error)
{
    rg_status (*open)(rg_model **, const char *, const rg_model_options *, rg_error *) =
        (rg_status(*)(rg_model **, const char *, const rg_model_options *, rg_error *))dlsym(RTLD_NEXT, "rg_model_open");
    rg_model_options *own = options ? NULL : rg_model_options_new();
    const rg_status status = open(model, path, options ? options : own, error);
    rg_model_options_free(own);
    return status;
}
