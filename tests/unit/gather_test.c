/* SPDX-License-Identifier: Apache-2.0
 * Reading tensors in the order of their shape: every order of three dimensions, in every portion, against one element at a time. */
#include "base/memory.h"
#include "fake_host.h"
#include "io/gather.h"
#include "test.h"

static fake_host fake;
static rg_error error;
static rgi_stored_file file = { .path = "x" };

/* A tensor of this shape whose dimensions lie in the file in this order, outermost first, behind some bytes that are not its own. */
static rgi_stored_tensor make(int type, uint32_t rank, const uint64_t *shape, const uint32_t *order)
{
    rgi_stored_tensor t = { .name = "t", .type = type, .rank = rank, .offset = 7, .bytes = type == RG_TYPE_F32 ? 4 : 2 };
    uint64_t stride = 1;
    for (uint32_t i = rank; i-- > 0;) {
        t.shape[order[i]] = shape[order[i]];
        t.strides[order[i]] = stride;
        stride *= shape[order[i]];
        t.is_strided = t.is_strided || order[i] != i;
    }
    t.bytes *= stride;
    return t;
}

/* Fills a file of which no two elements nearby are equal, and the tensor in order, one element at a time. */
static unsigned char *fill(const rgi_stored_tensor *t, unsigned char **expected)
{
    const size_t element = t->type == RG_TYPE_F32 ? 4 : 2, n = (size_t)t->bytes / element;
    unsigned char *bytes = malloc((size_t)t->offset + (size_t)t->bytes), *to = *expected = malloc((size_t)t->bytes);
    REQUIRE(bytes && to);
    for (size_t i = 0; i < t->offset; i++) bytes[i] = 0xee;
    for (size_t i = 0; i < n; i++) {
        const uint32_t value = (uint32_t)i * 2654435761u >> (element == 2 ? 16 : 0);
        memcpy(bytes + t->offset + i * element, &value, element);
    }
    for (size_t i = 0; i < n; i++) {
        size_t left = i, at = 0;
        for (uint32_t d = t->rank; d-- > 0; left /= (size_t)t->shape[d]) at += left % (size_t)t->shape[d] * (size_t)t->strides[d];
        memcpy(to + i * element, bytes + t->offset + (t->is_strided ? at : i) * element, element);
    }
    fake_put(&fake, "x", bytes, (size_t)(t->offset + t->bytes));
    file.handle = &fake.files[0];
    file.bytes = t->offset + t->bytes;
    return bytes;
}

static bool reads(rgi_gather *g, const unsigned char *expected, size_t first, size_t n)
{
    const size_t element = (size_t)g->element_bytes;
    unsigned char *out = malloc(n * element + 16); /* aligned, and exactly so long that a write beyond shows */
    memset(out + n * element, 0x5a, 16);
    error = (rg_error)RG_ERROR_INIT;
    bool is_good = rgi_gather_read(g, first, n, out, &error) == RG_OK && memcmp(out, expected + first * element, n * element) == 0;
    for (int i = 0; i < 16; i++) is_good = is_good && out[n * element + (size_t)i] == 0x5a;
    const rgi_host host = fake_host_of(&fake);
    memset(out, 0, n * element);
    is_good = is_good && rgi_stored_tensor_gather(&host, &file, g->tensor, first, n, out, &error) == RG_OK && memcmp(out, expected + first * element, n * element) == 0;
    free(out);
    return is_good;
}

static const uint32_t orders[6][3] = { { 0, 1, 2 }, { 0, 2, 1 }, { 1, 0, 2 }, { 1, 2, 0 }, { 2, 0, 1 }, { 2, 1, 0 } };

TEST(every_order_of_dimensions_is_read_in_every_portion)
{
    static const uint64_t shapes[][3] = { { 3, 4, 5 }, { 2, 1, 6 }, { 1, 5, 3 }, { 4, 3, 1 }, { 1, 1, 7 }, { 2, 2, 2 } };
    for (int type = RG_TYPE_F32; type <= RG_TYPE_BF16; type++)
        for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
            for (size_t o = 0; o < 6; o++) {
                const rgi_host host = fake_host_of(&fake);
                const rgi_stored_tensor t = make(type, 3, shapes[s], orders[o]);
                unsigned char *expected, *bytes = fill(&t, &expected);
                rgi_gather g;
                CHECK_EQUAL(rgi_gather_open(&g, &host, &file, &t, &error), RG_OK);
                const size_t n = (size_t)g.n_elements;
                CHECK_EQUAL(n, shapes[s][0] * shapes[s][1] * shapes[s][2]);
                bool is_good = true;
                for (size_t first = 0; first <= n; first++)
                    for (size_t count = 0; count <= n - first; count++) is_good = is_good && reads(&g, expected, first, count);
                if (!is_good) printf("type %d, shape %zu, order %zu: %s\n", type, s, o, error.message);
                CHECK(is_good);
                rgi_gather_close(&g);
                CHECK_EQUAL(fake.n_blocks, 0);
                free(bytes);
                free(expected);
            }
}

/* Sizes around those of tiles, and tensors of more than a band. */
TEST(tiles_and_bands_fit_together)
{
    static const struct { uint32_t rank; uint64_t shape[3]; } cases[] = {
        { 2, { 63, 65 } }, { 2, { 64, 64 } }, { 2, { 129, 191 } }, { 2, { 33, 31 } }, { 3, { 3, 66, 70 } }, { 2, { 70000, 300 } }, { 3, { 220, 200, 200 } }, { 3, { 6000, 50, 60 } } };
    uint32_t random = 1;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (size_t o = 1; o < 6; o++) {
            const uint32_t two[] = { 1, 0 };
            const rgi_host host = fake_host_of(&fake);
            const rgi_stored_tensor t = make(i % 2 ? RG_TYPE_BF16 : RG_TYPE_F32, cases[i].rank, cases[i].shape, cases[i].rank == 2 ? two : orders[o]);
            unsigned char *expected, *bytes = fill(&t, &expected);
            rgi_gather g;
            fake_reset(&fake);
            CHECK_EQUAL(rgi_gather_open(&g, &host, &file, &t, &error), RG_OK);
            CHECK(fake.peak_bytes <= RGI_GATHER_SCRATCH_BYTES + 128);
            const size_t n = (size_t)g.n_elements;
            CHECK(reads(&g, expected, 0, n));
            for (int k = 0; k < 3; k++) {
                random = random * 1664525u + 1013904223u;
                const size_t first = random % n, count = (random >> 7) % (n - first) % (n / 3 + 1);
                const bool is_good = reads(&g, expected, first, count);
                if (!is_good) printf("case %zu, order %zu: elements %zu to %zu: %s\n", i, o, first, first + count, error.message);
                CHECK(is_good);
            }
            rgi_gather_close(&g);
            CHECK_EQUAL(fake.n_blocks, 0);
            free(bytes);
            free(expected);
            if (cases[i].rank == 2) break;
        }
}

/* Read from first to last in blocks of rows, each byte of the file is read once, in pieces of at least 1 KiB. */
TEST(rows_in_order_are_read_once)
{
    static const uint64_t shape[] = { 20480, 1280 };
    static const uint32_t order[] = { 1, 0 };
    const rgi_host host = fake_host_of(&fake);
    const rgi_stored_tensor t = make(RG_TYPE_BF16, 2, shape, order);
    unsigned char *expected, *bytes = fill(&t, &expected);
    uint16_t *out = malloc(64 * 1280 * sizeof *out);
    rgi_gather g;
    fake_reset(&fake);
    CHECK_EQUAL(rgi_gather_open(&g, &host, &file, &t, &error), RG_OK);
    bool is_good = true;
    for (size_t row = 0; row < shape[0]; row += 64)
        is_good = is_good && rgi_gather_read(&g, row * 1280, 64 * 1280, out, &error) == RG_OK && memcmp(out, expected + row * 1280 * 2, 64 * 1280 * 2) == 0;
    CHECK(is_good);
    CHECK_EQUAL(fake.io_calls, 2 * 1280); /* 50 MiB in two bands, each in as many pieces as a row is long */
    rgi_gather_close(&g);
    free(out);
    free(bytes);
    free(expected);
}

TEST(faults_are_told)
{
    static const uint64_t shape[] = { 50, 40 };
    static const uint32_t order[] = { 1, 0 };
    const rgi_host host = fake_host_of(&fake);
    rgi_stored_tensor t = make(RG_TYPE_BF16, 2, shape, order);
    unsigned char *expected, *bytes = fill(&t, &expected);
    uint16_t out[2000];
    rgi_gather g;
    fake_reset(&fake);
    CHECK_EQUAL(rgi_gather_open(&g, &host, &file, &t, &error), RG_OK);
    CHECK_EQUAL(rgi_gather_read(&g, 0, 2001, out, &error), RG_ERR_ARGUMENT);
    CHECK_EQUAL(rgi_gather_read(&g, 2001, 0, out, &error), RG_ERR_ARGUMENT);
    CHECK_EQUAL(rgi_gather_read(&g, UINT64_MAX, 2, out, &error), RG_ERR_ARGUMENT);
    CHECK_EQUAL(rgi_gather_read(&g, 1, UINT64_MAX, out, &error), RG_ERR_ARGUMENT);
    CHECK_EQUAL(rgi_stored_tensor_gather(&host, &file, &t, 1, UINT64_MAX, out, &error), RG_ERR_ARGUMENT);
    CHECK_EQUAL(rgi_stored_tensor_gather(&host, &file, &t, UINT64_MAX, 1, out, &error), RG_ERR_ARGUMENT);
    CHECK_EQUAL(fake.io_calls, 0);
    fake.fail_io_at = 1;
    CHECK_EQUAL(rgi_gather_read(&g, 0, 2000, out, &error), RG_ERR_IO);
    fake.short_read = 3; /* and all is well again, in small bits */
    CHECK(rgi_gather_read(&g, 0, 2000, out, &error) == RG_OK && memcmp(out, expected, 4000) == 0);
    rgi_gather_close(&g);
    fake.files[0].visible = 4000;
    CHECK_EQUAL(rgi_gather_open(&g, &host, &file, &t, &error), RG_OK);
    CHECK(rgi_gather_read(&g, 0, 2000, out, &error) == RG_ERR_FORMAT && strstr(error.message, "too early"));
    rgi_gather_close(&g);
    fake_reset(&fake);
    fake.fail_allocation_at = 1;
    CHECK_EQUAL(rgi_gather_open(&g, &host, &file, &t, &error), RG_ERR_MEMORY);
    fake_reset(&fake);
    fake.fail_allocation_at = 1;
    CHECK_EQUAL(rgi_stored_tensor_gather(&host, &file, &t, 0, 2000, out, &error), RG_ERR_MEMORY);
    CHECK_EQUAL(fake.n_blocks, 0);
    fake_reset(&fake);
    free(bytes);
    free(expected);
}

int main(void)
{
    RUN(every_order_of_dimensions_is_read_in_every_portion);
    RUN(tiles_and_bands_fit_together);
    RUN(rows_in_order_are_read_once);
    RUN(faults_are_told);
    return test_end();
}
