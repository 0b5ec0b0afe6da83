/* SPDX-License-Identifier: Apache-2.0
 * Weights in tiles: the same bits as from where they were stored, on every rung; and what happens when memory runs out. */
#include "fake_host.h"
#include "kernel_check.h"

static const int types[] = { RG_TYPE_F32, RG_TYPE_F16, RG_TYPE_BF16 };

static rgi_backend *open_with(const char *name, const rg_allocator *allocator, int compute, int layout)
{
    rgi_host host;
    rgi_backend *backend = NULL;
    REQUIRE(rgi_host_init(&host, allocator, NULL, NULL, NULL) == RG_OK);
    const rgi_backend_choice choice = { .name_or_path = name, .n_threads = 2, .compute = compute, .weight_layout = layout };
    REQUIRE(rgi_backend_open(&backend, &host, &choice, NULL) == RG_OK);
    check_set = name;
    return backend;
}

/* The list that a model binds: gates, which are not packed, stand first. */
typedef struct weight_list {
    typed gate, w;
    rg_weight storage[2];
    const rg_weight *list[2];
    rg_bind_args args;
} weight_list;

static void fill_list(weight_list *l, size_t n, size_t k, int type)
{
    l->gate = typed_new(2 * 4 * 4, type, CHECK_RANDOM);
    l->w = typed_new(n * k, type, CHECK_RANDOM);
    l->storage[0] = (rg_weight){ sizeof(rg_weight), "gate", rgi_tensor(l->gate.bytes, 0, type, 2, 4, 4) };
    l->storage[1] = (rg_weight){ sizeof(rg_weight), "w", rgi_tensor(l->w.bytes, 0, type, n, k, 0) };
    l->list[0] = &l->storage[0];
    l->list[1] = &l->storage[1];
    l->args = (rg_bind_args){ .struct_size = sizeof(rg_bind_args), .n_weights = 2, .weights = l->list, .slice_count = 1, .slice_of = 1 };
}

static void clear_list(weight_list *l)
{
    typed_free(&l->gate);
    typed_free(&l->w);
}

/* hides: once bound, the stored weights are overwritten, so that reading them would show. */
static void multiply(const char *set, int compute, int layout, bool hides, float *y, const float *x, size_t m, weight_list *l)
{
    const rg_tensor *w = &l->storage[1].tensor;
    const size_t n = w->shape[0], k = w->shape[1], bytes = n * k * rgi_type_bytes(w->type);
    rgi_backend *backend = open_with(set, NULL, compute, layout);
    void *bound = NULL, *kept = malloc(bytes);
    REQUIRE(kept);
    CHECK_RUN(backend, rgi_backend_bind(backend, &bound, &l->args));
    memcpy(kept, l->w.bytes, bytes);
    if (hides) memset(l->w.bytes, 0x3c, bytes);
    const rg_tensor ty = rgi_tensor(y, 0, RG_TYPE_F32, m, n, 0), tx = rgi_tensor((float *)(uintptr_t)x, 0, RG_TYPE_F32, m, k, 0);
    const rg_matmul_args args = { .struct_size = sizeof args, .y = &ty, .x = &tx, .w = w, .is_w_transposed = 1, .weights = bound, .weight_index = 1 };
    CHECK_RUN(backend, rgi_matmul(backend, &args));
    memcpy(l->w.bytes, kept, bytes);
    free(kept);
    rgi_backend_unbind(backend, bound);
    rgi_backend_release(backend);
}

TEST(packed_weights_give_the_bits_of_stored_ones)
{
    static const size_t shapes[][3] = { { 1, 130, 2600 }, { 5, 64, 64 }, { 7, 1, 1 }, { 17, 79, 33 }, { 100, 33, 95 }, { 9, 32, 48 }, { 3, 17, 1300 } };
    for (const char *const *set = check_sets(); *set; set++)
        for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
            for (int t = 0; t < 3; t++)
                for (int whole = 0; whole < 2; whole++) {
                    const size_t m = shapes[s][0], n = shapes[s][1], k = shapes[s][2];
                    const bool is_cpu = strncmp(*set, "cpu", 3) == 0;
                    weight_list l;
                    fill_list(&l, n, k, types[t]);
                    float *x = malloc(m * k * sizeof *x), *stored = malloc(m * n * sizeof *stored), *packed = malloc(m * n * sizeof *packed);
                    REQUIRE(x && stored && packed);
                    for (size_t i = 0; i < m * k; i++) x[i] = check_normal();
                    multiply(*set, whole ? RG_TYPE_F32 : RG_TYPE_DEFAULT, RG_LAYOUT_STORED, false, stored, x, m, &l);
                    multiply(*set, whole ? RG_TYPE_F32 : RG_TYPE_DEFAULT, RG_LAYOUT_PACKED, is_cpu, packed, x, m, &l);
                    if (memcmp(stored, packed, m * n * sizeof *stored) != 0) printf("%s, type %d, compute %d: %zu x %zu x %zu\n", *set, types[t], whole, m, n, k);
                    CHECK(memcmp(stored, packed, m * n * sizeof *stored) == 0);
                    clear_list(&l);
                    free(x);
                    free(stored);
                    free(packed);
                }
}

TEST(a_copy_is_made_only_when_asked_for)
{
    static const int layouts[] = { RG_LAYOUT_AUTO, RG_LAYOUT_STORED, RG_LAYOUT_PACKED };
    weight_list l;
    fill_list(&l, 40, 70, RG_TYPE_BF16);
    for (int i = 0; i < 3; i++) {
        rgi_backend *backend = open_with("cpu", NULL, RG_TYPE_DEFAULT, layouts[i]);
        void *bound = NULL;
        CHECK_RUN(backend, rgi_backend_bind(backend, &bound, &l.args));
        CHECK((bound != NULL) == (layouts[i] == RG_LAYOUT_PACKED));
        rgi_backend_unbind(backend, bound);
        rgi_backend_release(backend);
    }
    clear_list(&l);
}

TEST(binding_without_memory_leaves_nothing_behind)
{
    weight_list l;
    fill_list(&l, 40, 70, RG_TYPE_BF16);
    fake_host memory = { .n_files = 0 };
    const rg_allocator allocator = { sizeof allocator, &memory, fake_allocate, fake_release };
    rgi_backend *backend = open_with("cpu", &allocator, RG_TYPE_DEFAULT, RG_LAYOUT_PACKED);
    const size_t n_blocks = memory.n_blocks;
    rg_status status = RG_ERR_MEMORY;
    size_t n_failures = 0;
    for (; status != RG_OK && n_failures < 10; n_failures++) {
        void *bound = NULL;
        memory.allocations = 0;
        memory.fail_allocation_at = n_failures + 1;
        REQUIRE(rgi_backend_begin(backend) == RG_OK);
        status = rgi_backend_bind(backend, &bound, &l.args);
        rgi_backend_end(backend);
        CHECK(status == RG_OK || (status == RG_ERR_MEMORY && !bound && memory.n_blocks == n_blocks));
        rgi_backend_unbind(backend, bound);
        CHECK_EQUAL(memory.n_blocks, n_blocks);
    }
    CHECK_EQUAL(status, RG_OK);
    CHECK(n_failures == 4); /* the list, its places, one matrix; then all is there */
    rgi_backend_release(backend);
    CHECK_EQUAL(memory.n_blocks, 0);
    clear_list(&l);
}

int main(void)
{
    RUN(packed_weights_give_the_bits_of_stored_ones);
    RUN(a_copy_is_made_only_when_asked_for);
    RUN(binding_without_memory_leaves_nothing_behind);
    return test_end();
}
