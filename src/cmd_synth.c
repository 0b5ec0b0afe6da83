/* SPDX-License-Identifier: Apache-2.0
 * recurrentgemma synth: a random model of any shape. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "clock.h"
#include "command.h"
#include "complain.h"
#include "json_out.h"
#include "open_model.h"
#include "synth_model.h"

static void print_summary(const synth_model *model, double seconds, bool is_json)
{
    if (!is_json) {
        printf("%llu parameters, %llu bytes in %zu file%s, %.1f s\n", (unsigned long long)model->n_parameters, (unsigned long long)model->n_bytes,
               model->n_files, model->n_files == 1 ? "" : "s", seconds);
        return;
    }
    json_out json;
    json_begin(&json, stdout, false);
    json_open_object(&json, NULL);
    json_count(&json, "n_parameters", model->n_parameters);
    json_count(&json, "bytes", model->n_bytes);
    json_count(&json, "files", model->n_files);
    json_number(&json, "seconds", seconds);
    json_close_object(&json);
}

/* "5GB", "300M", "0": decimal units. */
static bool parse_size(uint64_t *bytes, const char *text)
{
    char *end = NULL;
    if (text[0] < '0' || text[0] > '9') return false;
    errno = 0;
    *bytes = strtoull(text, &end, 10);
    const uint64_t unit = *end == 'K' ? 1000 : *end == 'M' ? 1000000 : *end == 'G' ? 1000000000 : 1;
    if (unit > 1) end++;
    if (*end == 'B') end++;
    if (errno || *end || *bytes > UINT64_MAX / unit) return false;
    *bytes *= unit;
    return true;
}

int cmd_synth(int argc, char **argv)
{
    const char *config = NULL, *shard_size = "5GB";
    bool is_untied = false, is_json = false;
    synth_model model = { .type = SYNTH_BF16 };
    model_choice opening = MODEL_CHOICE_INIT; /* taken as by every verb; nothing is opened */
    const option options[] = {
        OPTION_TEXT('c', "config", "PRESET|FILE", &config,
                    "the shape: 2b, 9b, griffin-SIZE or hawk-SIZE with SIZE 100m, 200m, 400m, 1b, 3b, 7b or 14b, 90m, small, tiny, tiny-hawk, "
                    "tiny-lru; or a config.json"),
        OPTION_COUNT(0, "seed", "N", &model.seed, 0, UINT64_MAX, "other values for another N (default 0)"),
        OPTION_CHOICE(0, "dtype", "f32|f16|bf16", &model.type, "type of all tensors (default bf16)"),
        OPTION_FLAG(0, "untied", &is_untied, "an output matrix of its own, lm_head.weight, instead of the embedding"),
        OPTION_TEXT(0, "shard-size", "SIZE", &shard_size, "begin a new file above SIZE bytes; K, M and G are decimal, 0: one file (default 5GB)"),
        OPTION_FLAG(0, "force", &model.is_forced, "replace the model in a folder that is not empty"),
        OPTION_FLAG(0, "json", &is_json, "print the summary as JSON"),
        MODEL_OPTIONS(&opening),
    };
    static const usage about = {
        "synth", "OUT --config PRESET|FILE",
        "Write a random model into the folder OUT, in Hugging Face layout, for tests and measurements. It is not trained; its scales keep "
        "the forward pass well behaved. The values depend on the seed and on each tensor's name only. No tokenizer is written: put a "
        "tokenizer.model into the folder if text is wanted.",
        "The options for opening a model are accepted, as by every verb, but nothing is opened.",
    };
    int code = 0;
    if (!options_parse(&model.folder, &code, argc, argv, &about, options, sizeof options / sizeof *options)) return code;
    if (!config) return complain_usage("--config PRESET|FILE is missing");
    if (!parse_size(&model.shard_bytes, shard_size)) return complain_usage("--shard-size wants a size such as 5GB, not '%s'", shard_size);

    synth_shape shape;
    code = synth_shape_find(&shape, config);
    if (code) return code;
    if (is_untied) shape.is_untied = true;
    model.shape = &shape;
    const double began = clock_seconds();
    code = synth_model_write(&model);
    if (!code) print_summary(&model, clock_seconds() - began, is_json);
    return code;
}
