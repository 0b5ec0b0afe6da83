/* SPDX-License-Identifier: Apache-2.0
 * The shapes that synth knows by name. */
#include "synth_shape.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "complain.h"

#define PAPER_GATE_BLOCKS 16

/* Sizes that were released, and small ones for tests. */
static const struct preset {
    const char *name;
    uint32_t width, mlp_width, n_heads, lru_width, n_layers, window, soft_cap, vocab_size, n_gate_blocks;
    bool is_hawk, scales_embedding;
} presets[] = {
    { "2b", 2560, 7680, 10, 2560, 26, 2048, 30, 256000, 10, false, true },
    { "9b", 4096, 12288, 16, 4096, 38, 2048, 30, 256000, 16, false, true },
    { "90m", 640, 1920, 5, 640, 14, 512, 30, 32000, 5, false, true },
    { "small", 256, 768, 4, 256, 6, 128, 30, 2048, 4, false, true },
    { "tiny", 64, 96, 4, 64, 4, 16, 30, 320, 4, false, true },
    { "tiny-hawk", 48, 72, 3, 48, 3, 16, 30, 320, 3, true, true },
    { "tiny-lru", 48, 72, 2, 80, 3, 8, 0, 300, 2, false, false },
    /* The reference code's 7B presets have one gate block per head and the released vocabulary, unlike the paper. */
    { "griffin-7b", 4096, 12288, 32, 5632, 32, 1024, 0, 256000, 32, false, false },
    { "hawk-7b", 4096, 12288, 32, 5632, 32, 1024, 0, 256000, 32, true, false },
};

/* Griffin, arXiv 2402.19427, table 2: griffin-SIZE and hawk-SIZE. The paper tells no vocabulary size; 32000 is an assumption. */
static const struct paper_size {
    const char *name;
    uint32_t width, lru_width, n_layers, n_heads;
} paper_sizes[] = {
    { "100m", 768, 1024, 12, 6 },   { "200m", 1024, 1536, 12, 8 },  { "400m", 1536, 2048, 12, 12 },
    { "1b", 2048, 2560, 24, 16 },   { "3b", 3072, 4096, 24, 24 },   { "14b", 5120, 8192, 40, 40 },
};

static void set_pattern(synth_shape *shape, bool is_hawk)
{
    for (size_t i = 0; i < shape->n_layers; i++) shape->is_attention[i] = !is_hawk && i % 3 == 2;
}

static synth_shape from_preset(const struct preset *p)
{
    synth_shape shape = {
        .width = p->width, .mlp_width = p->mlp_width, .lru_width = p->lru_width, .n_layers = p->n_layers, .n_heads = p->n_heads, .n_kv_heads = 1,
        .n_gate_blocks = p->n_gate_blocks, .conv_width = 4, .window = p->window, .vocab_size = p->vocab_size, .soft_cap = p->soft_cap,
        .rope_theta = 10000, .norm_epsilon = 1e-6, .bos = 2, .eos = 1, .pad = 0, .scales_embedding = p->scales_embedding,
    };
    set_pattern(&shape, p->is_hawk);
    return shape;
}

static bool find_preset(synth_shape *shape, const char *name)
{
    for (size_t i = 0; i < sizeof presets / sizeof *presets; i++) {
        if (strcmp(name, presets[i].name) != 0) continue;
        *shape = from_preset(&presets[i]);
        return true;
    }
    const bool is_hawk = strncmp(name, "hawk-", 5) == 0;
    if (!is_hawk && strncmp(name, "griffin-", 8) != 0) return false;
    for (size_t i = 0; i < sizeof paper_sizes / sizeof *paper_sizes; i++) {
        const struct paper_size *s = &paper_sizes[i];
        if (strcmp(strchr(name, '-') + 1, s->name) != 0) continue;
        *shape = from_preset(&(struct preset){ name, s->width, 3 * s->width, s->n_heads, s->lru_width, s->n_layers, 1024, 0, 32000, PAPER_GATE_BLOCKS,
                                               is_hawk, false });
        return true;
    }
    return false;
}

int synth_shape_find(synth_shape *shape, const char *name)
{
    if (find_preset(shape, name)) return 0;
    if (access(name, F_OK) != 0 && errno == ENOENT) return complain_usage("--config '%s' is neither a preset nor a file", name);
    return synth_shape_read(shape, name);
}
