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
    l->storage[0] = (rg_weight){ sizeof(rg_weight), "gate", rgi_tensor(l->gate.bytes, 0, type, 2, 4, 4), NULL };
    l->storage[1] = (rg_weight){ sizeof(rg_weight), "w", rgi_tensor(l->w.bytes, 0, type, n, k, 0), NULL };
    l->list[0] = &l->storage[0];
    l->list[1] = &l->storage[1];
    l->args = (rg_bind_args){ .struct_size = sizeof(rg_bind_args), .n_weights = 2, .weights = l->list, .slice_count = 1, .slice_of = 1 };
}

static void clear_list(weight_list *l)
{
    typed_free(&l->gate);
    typed_free(&l->w);
}

/* Packed where the layout says so, in parts that begin anywhere. */
static void multiply(const char *set, int compute, int layout, float *y, const float *x, size_t m, const weight_list *l)
{
    rgi_backend *backend = open_with(set, NULL, compute, layout);
    rg_weight w[2] = { l->storage[0], l->storage[1] };
    const rg_weight *list[2] = { &w[0], &w[1] };
    rg_bind_args bind = l->args;
    bind.weights = list;
    const size_t n = w[1].tensor.shape[0], k = w[1].tensor.shape[1];
    CHECK(check_pack(backend, &w[0], 10) == NULL);
    void *bound = NULL, *packed = check_pack(backend, &w[1], m % 2 ? n * k : 1 + n * k / 3);
    CHECK((packed != NULL) == (layout == RG_LAYOUT_PACKED && strncmp(set, "cpu", 3) == 0));
    CHECK_RUN(backend, rgi_backend_bind(backend, &bound, &bind));
    const rg_tensor ty = rgi_tensor(y, 0, RG_TYPE_F32, m, n, 0), tx = rgi_tensor((float *)(uintptr_t)x, 0, RG_TYPE_F32, m, k, 0);
    const rg_matmul_args args = { .struct_size = sizeof args, .y = &ty, .x = &tx, .w = &w[1].tensor, .is_w_transposed = 1, .weights = bound, .weight_index = 1 };
    CHECK_RUN(backend, rgi_matmul(backend, &args));
    rgi_backend_unbind(backend, bound);
    rgi_backend_release(backend);
    free(packed);
}

TEST(packed_weights_give_the_bits_of_stored_ones)
{
    static const size_t shapes[][3] = { { 1, 130, 2600 }, { 5, 64, 64 }, { 7, 1, 1 }, { 17, 79, 33 }, { 100, 33, 95 }, { 9, 32, 48 }, { 3, 17, 1300 } };
    for (const char *const *set = check_sets(); *set; set++)
        for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
            for (int t = 0; t < 3; t++)
                for (int whole = 0; whole < 2; whole++) {
                    const size_t m = shapes[s][0], n = shapes[s][1], k = shapes[s][2];
                    weight_list l;
                    fill_list(&l, n, k, types[t]);
                    float *x = malloc(m * k * sizeof *x), *stored = malloc(m * n * sizeof *stored), *packed = malloc(m * n * sizeof *packed);
                    REQUIRE(x && stored && packed);
                    for (size_t i = 0; i < m * k; i++) x[i] = check_normal();
                    multiply(*set, whole ? RG_TYPE_F32 : RG_TYPE_DEFAULT, RG_LAYOUT_STORED, stored, x, m, &l);
                    multiply(*set, whole ? RG_TYPE_F32 : RG_TYPE_DEFAULT, RG_LAYOUT_PACKED, packed, x, m, &l);
                    if (memcmp(stored, packed, m * n * sizeof *stored) != 0) printf("%s, type %d, compute %d: %zu x %zu x %zu\n", *set, types[t], whole, m, n, k);
                    CHECK(memcmp(stored, packed, m * n * sizeof *stored) == 0);
                    clear_list(&l);
                    free(x);
                    free(stored);
                    free(packed);
                }
}

TEST(only_whom_it_was_asked_of_packs)
{
    static const int layouts[] = { RG_LAYOUT_AUTO, RG_LAYOUT_STORED, RG_LAYOUT_PACKED };
    weight_list l;
    fill_list(&l, 40, 70, RG_TYPE_BF16);
    for (int i = 0; i < 3; i++) {
        rgi_backend *backend = open_with("cpu", NULL, RG_TYPE_DEFAULT, layouts[i]);
        CHECK_EQUAL(rgi_backend_packed_bytes(backend, &l.storage[0].tensor), 0);
        CHECK_EQUAL(rgi_backend_packed_bytes(backend, &l.storage[1].tensor), layouts[i] == RG_LAYOUT_PACKED ? 48 * 96 * 2 : 0);
        rgi_backend_release(backend);
    }
    clear_list(&l);
}

/* Whole blocks of rows and single elements; what is packed comes back the same, from any place on. */
TEST(unpacking_gives_the_stored_bytes_back)
{
    static const size_t shapes[][2] = { { 64, 64 }, { 79, 96 }, { 33, 95 }, { 1, 1 }, { 17, 1300 } };
    for (const char *const *set = check_sets(); *set; set++) {
        if (strncmp(*set, "cpu", 3) != 0) continue;
        rgi_backend *backend = open_with(*set, NULL, RG_TYPE_DEFAULT, RG_LAYOUT_PACKED);
        for (size_t i = 0; i < 3 * (sizeof shapes / sizeof *shapes); i++) {
            const size_t n = shapes[i / 3][0], k = shapes[i / 3][1], element = rgi_type_bytes(types[i % 3]);
            weight_list l;
            fill_list(&l, n, k, types[i % 3]);
            rg_weight w = l.storage[1];
            void *packed = check_pack(backend, &w, 1 + n * k / 2);
            char *back = malloc(n * k * element);
            REQUIRE(packed && back);
            for (size_t first = 0; first < n * k; first += n * k / 3 + 1) {
                memset(back, 0x5a, n * k * element);
                rgi_backend_unpack(backend, back + first * element, packed, &w.tensor, first, n * k - first);
                CHECK(memcmp(back + first * element, (char *)l.w.bytes + first * element, (n * k - first) * element) == 0);
            }
            free(packed);
            free(back);
            clear_list(&l);
        }
        rgi_backend_release(backend);
    }
}

static void put(void *elements, size_t at, int type, uint32_t bits)
{
    if (type == RG_TYPE_F32) memcpy((char *)elements + 4 * at, &bits, 4);
    else memcpy((char *)elements + 2 * at, &(uint16_t){ (uint16_t)bits }, 2);
}

/* In whole blocks and beside them: infinities and NaN are told of, the largest and the smallest numbers are not; all are packed. */
TEST(what_is_not_finite_is_noticed_while_packing)
{
    static const uint32_t bad[3][2] = { { 0x7f800000, 0xffc00001 }, { 0x7c00, 0xfe01 }, { 0xff80, 0x7f81 } };
    static const uint32_t good[3][2] = { { 0x7f7fffff, 0x80000001 }, { 0xfbff, 1 }, { 0x7f7f, 0x8001 } };
    const size_t n = 35, k = 64;
    for (const char *const *set = check_sets(); *set; set++) {
        if (strncmp(*set, "cpu", 3) != 0) continue;
        rgi_backend *backend = open_with(*set, NULL, RG_TYPE_DEFAULT, RG_LAYOUT_PACKED);
        for (int t = 0; t < 3; t++)
            for (size_t at = 0; at < n * k; at += 61) {
                weight_list l;
                fill_list(&l, n, k, types[t]);
                const rg_tensor *w = &l.storage[1].tensor;
                char *packed = aligned_alloc(64, rgi_backend_packed_bytes(backend, w)), *back = malloc(n * k * 4);
                REQUIRE(packed && back);
                for (int which = 0; which < 4; which++) {
                    put(l.w.bytes, at, types[t], which < 2 ? good[t][which] : bad[t][which - 2]);
                    CHECK_EQUAL(rgi_backend_pack(backend, packed, w, 0, n * k, l.w.bytes), which < 2 ? RG_OK : RG_ERR_NONFINITE);
                    rgi_backend_unpack(backend, back, packed, w, 0, n * k);
                    CHECK(memcmp(back, l.w.bytes, n * k * rgi_type_bytes(types[t])) == 0);
                }
                free(packed);
                free(back);
                clear_list(&l);
            }
        rgi_backend_release(backend);
    }
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
    CHECK(n_failures == 2); /* the list of tiles; then all is there */
    rgi_backend_release(backend);
    CHECK_EQUAL(memory.n_blocks, 0);
    clear_list(&l);
}

int main(void)
{
    RUN(packed_weights_give_the_bits_of_stored_ones);
    RUN(only_whom_it_was_asked_of_packs);
    RUN(unpacking_gives_the_stored_bytes_back);
    RUN(what_is_not_finite_is_noticed_while_packing);
    RUN(binding_without_memory_leaves_nothing_behind);
    return test_end();
}
