/* SPDX-License-Identifier: Apache-2.0
 * The pickle: dictionaries of tensors are read as torch wrote them, and nothing else is, least of all done. */
#include "base/memory.h"
#include "fake_host.h"
#include "io/torch_pickle.h"
#include "test.h"
#include "torch_file.h"

static fake_host fake;
static rg_error error;

static rg_status read_pickle(rgi_torch_pickle *pickle, const void *text, size_t n)
{
    const rgi_host host = fake_host_of(&fake);
    error = (rg_error)RG_ERROR_INIT;
    /* A block of just this size, so that a byte read beyond it is noticed. */
    char *copy = malloc(n ? n : 1);
    if (n > 0) memcpy(copy, text, n);
    fake_reset(&fake);
    const rg_status status = rgi_torch_pickle_read(pickle, &host, copy, n, "x.pt", 64, &error);
    free(copy);
    if (status == RG_OK) return status;
    CHECK(pickle->tensors == NULL && pickle->n_tensors == 0);
    CHECK_EQUAL(fake.n_blocks, 0);
    CHECK_EQUAL(error.status, status);
    return status;
}

static void clear(rgi_torch_pickle *pickle)
{
    const rgi_host host = fake_host_of(&fake);
    rgi_free(&host.allocator, pickle->tensors);
    CHECK_EQUAL(fake.n_blocks, 0);
}

static bool is(const char *text, uint32_t n, const char *expected) { return n == strlen(expected) && memcmp(text, expected, n) == 0; }

/* What pickletools.dis shows of the files that torch wrote. */
TEST(dictionaries_that_torch_wrote_are_read)
{
    static const struct { const char *path; size_t bytes, n; int type; uint64_t vocabulary, width; } cases[] = {
        { "tests/data/golden/one-head/deepmind.pt", 4506, 43, RG_TYPE_F32, 256, 32 }, { "tests/data/golden/bf16-sharded/deepmind.pt", 5506, 51, RG_TYPE_BF16, 384, 128 } };
    for (size_t i = 0; i < 2; i++) {
        torch_bytes b = torch_load(cases[i].path);
        const rgi_host host = fake_host_of(&fake);
        rgi_torch_pickle p;
        REQUIRE(b.n > 64 + cases[i].bytes);
        REQUIRE(rgi_torch_pickle_read(&p, &host, (const char *)b.bytes + 64, cases[i].bytes, "x.pt", 64, &error) == RG_OK);
        CHECK_EQUAL(p.n_tensors, cases[i].n);
        const rgi_torch_tensor *t = &p.tensors[0];
        CHECK(is(t->name, t->name_bytes, "embedder.input_embedding") && is(t->key, t->key_bytes, "0") && t->type == cases[i].type && t->rank == 2 && t->offset == 0);
        CHECK(t->shape[0] == cases[i].vocabulary && t->shape[1] == cases[i].width && t->strides[0] == cases[i].width && t->strides[1] == 1);
        CHECK(t->n_stored == cases[i].vocabulary * cases[i].width);
        t = &p.tensors[1];
        CHECK(is(t->name, t->name_bytes, "blocks.0.temporal_pre_norm.scale") && is(t->key, t->key_bytes, "1") && t->rank == 1 && t->shape[0] == cases[i].width);
        for (size_t k = 0; k < p.n_tensors; k++) {
            char key[24];
            snprintf(key, sizeof key, "%zu", k);
            CHECK(is(p.tensors[k].key, p.tensors[k].key_bytes, key) && p.tensors[k].type == cases[i].type);
        }
        clear(&p);
        torch_free(&b);
    }
}

static const torch_tensor samples[] = {
    { "a", "FloatStorage", "0", 6, 0, 2, { 2, 3 }, { 3, 1 } },
    { "b", "BFloat16Storage", "one", 100000, 5, 1, { 300 }, { 1 } },
    { "c", "HalfStorage", "2", (uint64_t)5 << 30, 70000, 4, { 1, 2, 3, 4 }, { 99, 1, 2, 6 } },
    { "d", "FloatStorage", "3", 1, 0, 0, { 0 }, { 0 } },
};

static void check_samples(const torch_pickle *w)
{
    rgi_torch_pickle p;
    const rg_status status = read_pickle(&p, w->b.bytes, w->b.n);
    if (status != RG_OK) printf("%s\n", error.message);
    CHECK_EQUAL(status, RG_OK);
    if (status != RG_OK) return;
    CHECK_EQUAL(p.n_tensors, 4);
    for (size_t i = 0; i < 4 && p.n_tensors == 4; i++) {
        const rgi_torch_tensor *t = &p.tensors[i];
        const torch_tensor *s = &samples[i];
        CHECK(t->n_stored == s->n_stored && t->offset == s->offset && (int)t->rank == s->rank && t->name_bytes == 1);
        CHECK(t->type == (s->type[0] == 'F' ? RG_TYPE_F32 : s->type[0] == 'H' ? RG_TYPE_F16 : RG_TYPE_BF16));
        for (int d = 0; d < s->rank; d++) CHECK(t->shape[d] == s->shape[d] && t->strides[d] == s->strides[d]);
    }
    clear(&p);
}

TEST(protocols_2_to_5_and_both_kinds_of_dictionary_are_read)
{
    for (int protocol = 2; protocol <= 5; protocol++)
        for (int kind = 0; kind < 3; kind++) {
            torch_pickle w;
            torch_begin(&w, protocol);
            if (protocol >= 4) torch_put(&w.b, "\x95\x04\0\0\0\0\0\0\0", 9); /* a frame, of which only the length is looked at */
            if (kind == 0) torch_put_text(&w.b, "}");
            else torch_put_ordered_dict(&w);
            if (kind < 2) torch_put_text(&w.b, "(");
            for (size_t i = 0; i < 4; i++) {
                torch_put_tensor(&w, &samples[i]);
                if (kind == 2) torch_put_text(&w.b, "s");
            }
            torch_put_text(&w.b, kind < 2 ? "u." : ".");
            check_samples(&w);
            torch_free(&w.b);
        }
}

/* {'_metadata': OrderedDict([('', {'version': 1}), ...])} is given to a module's state_dict at its end. */
TEST(a_state_dict_and_parameters_are_read)
{
    torch_pickle w;
    torch_begin(&w, 2);
    torch_put_ordered_dict(&w);
    torch_put_text(&w.b, "(");
    for (size_t i = 0; i < 4; i++) {
        torch_put_string(&w, samples[i].name);
        torch_put_name(&w, "torch._utils", "_rebuild_parameter");
        torch_put_text(&w.b, "(");
        torch_put_value(&w, &samples[i]);
        torch_put_text(&w.b, "\x88");
        torch_put_ordered_dict(&w);
        torch_put_text(&w.b, "tR");
    }
    torch_put_text(&w.b, "u}");
    torch_put_string(&w, "_metadata");
    torch_put_ordered_dict(&w);
    torch_put_text(&w.b, "(");
    torch_put_string(&w, "");
    torch_put_text(&w.b, "}");
    torch_put_string(&w, "version");
    torch_put_text(&w.b, "K\001s");
    torch_put_string(&w, "embedder");
    torch_put_text(&w.b, "}us");
    const size_t n = w.b.n;
    torch_put_text(&w.b, "b.");
    check_samples(&w);
    w.b.bytes[n] = '.'; /* without BUILD two values are left */
    rgi_torch_pickle p;
    CHECK(read_pickle(&p, w.b.bytes, n + 1) == RG_ERR_FORMAT && strstr(error.message, "not of a dictionary"));
    torch_free(&w.b);
}

static void expect(const torch_pickle *w, rg_status status, const char *message)
{
    rgi_torch_pickle p;
    const rg_status got = read_pickle(&p, w->b.bytes, w->b.n);
    if (got == RG_OK) clear(&p);
    if (got != status || !strstr(error.message, message)) printf("expected %d %s\n     got %d %s\n", status, message, got, error.message);
    CHECK(got == status && strstr(error.message, message));
    CHECK(fake.peak_bytes <= ((size_t)32 << 20) + 4 * w->b.n);
}

/* A pickle of this text between its first two bytes and STOP. */
static void expect_text(const char *text, size_t n, const char *message)
{
    torch_pickle w;
    torch_begin(&w, 4);
    torch_put(&w.b, text, n);
    torch_put_text(&w.b, ".");
    expect(&w, RG_ERR_FORMAT, message);
    torch_free(&w.b);
}

#define EXPECT(text, message) expect_text(text, sizeof text - 1, message)
#define TENSOR "ctorch._utils\n_rebuild_tensor_v2\n("
#define STORAGE "(X\007\0\0\0storagectorch\nFloatStorage\nX\001\0\0\0000X\003\0\0\0cpuK\006tQ"
#define HOOKS "ccollections\nOrderedDict\n)R"
#define GOOD_TENSOR TENSOR STORAGE "K\000K\006\x85K\001\x85\x89" HOOKS "tR"
#define KEY "X\001\0\0\0a"

TEST(code_is_not_run_but_refused)
{
    EXPECT("cos\nsystem\n(X\005\0\0\0touchtR", "uses os.system");
    EXPECT("cposix\nsystem\n", "opcode 0x63 at byte 66: uses posix.system");
    EXPECT("c__builtin__\neval\n", "uses __builtin__.eval");
    EXPECT("\x8c\x08" "builtins\x8c\x04" "exec\x93", "uses builtins.exec");
    EXPECT("ctorch._utils\n_rebuild_tensor\n", "uses torch._utils._rebuild_tensor,");
    EXPECT("ctorch\nDoubleStorage\n", "uses torch.DoubleStorage");
    EXPECT("ctorch\nload\n", "uses torch.load");
    EXPECT("ccollections\nOrderedDict.__init__\n", "uses");
    EXPECT("ccollections.OrderedDict\n\n", "uses");
    EXPECT("ctorch\nFloatStorage\nK\001\x85R", "calls a type of storage");
    EXPECT("ccollections\nOrderedDict\n" KEY "\x85R", "made with arguments");
    EXPECT(KEY ")R", "calls what is not a name");
    EXPECT("ccollections\nOrderedDict\nNR", "without a tuple");
    EXPECT("ios\nsystem\n", "opcode 0x69 at byte 66: unknown");
    EXPECT("(cos\nsystem\no", "uses os.system");
    EXPECT(")\x81", "opcode 0x81");
    EXPECT("\x82\001", "opcode 0x82");
    EXPECT("P1\n", "opcode 0x50");
    EXPECT("cos\n", "ends in it");
    EXPECT("c\xff\n\xfe\n", "not UTF-8");
}

TEST(what_is_no_flat_dictionary_of_tensors_is_refused)
{
    EXPECT("", "not of a dictionary");
    EXPECT("N", "not of a dictionary");
    EXPECT("}", "is empty");
    EXPECT("}}", "not of a dictionary");
    EXPECT("}" KEY "K\001s", "\"a\" is not a tensor; nested");
    EXPECT("}" KEY "}" KEY GOOD_TENSOR "ss", "\"a\" is not a tensor; nested");
    EXPECT("}" KEY GOOD_TENSOR "sX\002\0\0\0bb}s", "\"bb\" is not a tensor; nested");
    EXPECT(GOOD_TENSOR, "not of a dictionary");
    EXPECT("}(" KEY GOOD_TENSOR "X\001\0\0\0bh\000u", "recalls what was not remembered");
    EXPECT("}(" KEY GOOD_TENSOR "q\000X\001\0\0\0bh\000u", "a tensor has two names; tied");
    EXPECT("}(" KEY GOOD_TENSOR "u" GOOD_TENSOR "q\0000", "opcode 0x30");
    EXPECT("}" KEY GOOD_TENSOR "s}\x94" KEY GOOD_TENSOR "s\x85\x94", "not of a dictionary");
    EXPECT("}K\001" GOOD_TENSOR "s", "a key is not a text");
    EXPECT("}X\000\0\0\0" GOOD_TENSOR "s", "a tensor's name is empty");
    EXPECT("}X\002\0\0\0a\0" GOOD_TENSOR "s", "contains a NUL");
    EXPECT("}X\001\0\0\0\xff" GOOD_TENSOR "s", "not UTF-8");
    EXPECT("}(" KEY "u", "half a pair");
    EXPECT("}u", "no mark");
    EXPECT("(u", "not a dictionary");
    EXPECT("(((u", "not a dictionary");
    EXPECT("s", "not a dictionary");
    EXPECT("}(" KEY "s", "a key is not a text");
    EXPECT("}" KEY "(s", "puts a mark");
    EXPECT("t", "no mark");
    EXPECT("\x85", "too few");
    EXPECT("K\001\x86", "too few");
    EXPECT("(K\001\x87", "too few");
    EXPECT("Q", "not a tuple of five");
    EXPECT(")Q", "not a tuple of five");
    EXPECT("b", "what has none");
    EXPECT("}}b", "other attributes");
    EXPECT("}}X\001\0\0\0aK\001sb", "other attributes");
    EXPECT("}X\011\0\0\0_metadata" GOOD_TENSOR "s}\x94", "not of a dictionary");
    EXPECT("}" KEY GOOD_TENSOR "s}X\011\0\0\0_metadata" GOOD_TENSOR "sb", "other attributes");
    EXPECT("}" KEY GOOD_TENSOR "s}X\011\0\0\0_metadata}" KEY GOOD_TENSOR "ssb", "outside of the dictionary");
    EXPECT("}" KEY GOOD_TENSOR "s.", "goes on behind its end");
    EXPECT("q\000", "nothing to remember");
    EXPECT("(\x94", "nothing to remember");
    EXPECT("Nq\001", "out of turn");
    EXPECT("Nr\xff\xff\xff\xff", "out of turn");
    EXPECT("Nq\000h\001", "not remembered");
    EXPECT("j\xff\xff\xff\xff", "not remembered");
    EXPECT("J\xff\xff\xff\xff", "negative");
    EXPECT("\x8a\x01\xff", "negative");
    EXPECT("\x8a\x08\0\0\0\0\0\0\0\x10", "2^60");
    EXPECT("\x8a\x09\0\0\0\0\0\0\0\0\0", "more than 8 bytes");
    EXPECT("X\xff\xff\xff\xff", "ends in it");
    EXPECT("X\xff\xff\xff\x7f" "abc", "ends in it");
    EXPECT("\x8d\xff\xff\xff\xff\xff\xff\xff\xff", "opcode 0x8d");
    EXPECT("\x95\xff\xff\xff\xff\xff\xff\xff\xff", "the frame is longer");
}

TEST(tensors_are_made_of_what_they_need)
{
    EXPECT(TENSOR STORAGE "K\000K\006\x85K\001\x85\x89tR", "not made of");
    EXPECT(TENSOR "NK\000K\006\x85K\001\x85\x89" HOOKS "tR", "not made of");
    EXPECT(TENSOR STORAGE "NK\006\x85K\001\x85\x89" HOOKS "tR", "not made of");
    EXPECT(TENSOR STORAGE "K\000K\006\x85K\001\x85N" HOOKS "tR", "not made of");
    EXPECT(TENSOR STORAGE "K\000K\006\x85K\001\x85\x89}" KEY "NstR", "not made of");
    EXPECT(TENSOR STORAGE "K\000K\006\x85K\001\x85\x89" HOOKS "K\001tR", "not made of");
    EXPECT(TENSOR STORAGE "K\000K\006K\001\x85\x89" HOOKS "tR", "shape and strides");
    EXPECT(TENSOR STORAGE "K\000N\x85K\001\x85\x89" HOOKS "tR", "shape and strides");
    EXPECT(TENSOR STORAGE "K\000K\006\x85K\001K\001\x86\x89" HOOKS "tR", "shape and strides");
    EXPECT(TENSOR STORAGE "K\000(K\1K\1K\1K\1K\1K\1K\1K\1K\1t)\x89" HOOKS "tR", "shape and strides");
    EXPECT("}" KEY TENSOR STORAGE "K\000K\006\x85K\001\x85\x89" HOOKS "}tRs\x85", "not of a dictionary"); /* with metadata: a tensor */
    EXPECT("(X\007\0\0\0storagf" "ctorch\nFloatStorage\nX\001\0\0\0000X\003\0\0\0cpuK\006tQ", "the id of a storage");
    EXPECT("(X\007\0\0\0storage" "ccollections\nOrderedDict\nX\001\0\0\0000X\003\0\0\0cpuK\006tQ", "the id of a storage");
    EXPECT("(X\007\0\0\0storage" "ctorch\nFloatStorage\nK\000X\003\0\0\0cpuK\006tQ", "the id of a storage");
    EXPECT("(X\007\0\0\0storage" "ctorch\nFloatStorage\nX\000\0\0\0X\003\0\0\0cpuK\006tQ", "the key of a storage");
    EXPECT("(X\007\0\0\0storage" "ctorch\nFloatStorage\nX\001\0\0\0000NK\006tQ", "the id of a storage");
    EXPECT("(X\007\0\0\0storage" "ctorch\nFloatStorage\nX\001\0\0\0000X\003\0\0\0cpuNtQ", "the id of a storage");
    EXPECT("ctorch._utils\n_rebuild_parameter\n(K\001\x88}tR", "a parameter is not made of");
    EXPECT("ctorch._utils\n_rebuild_parameter\n)R", "a parameter is not made of");
    EXPECT("ctorch._utils\n_rebuild_tensor_v2\n)R", "a tensor is not made of");
}

TEST(beginnings_and_instructions_that_are_not_known_are_refused)
{
    static const struct { const char *text; size_t n; } bad[] = { { "", 0 }, { "\x80", 1 }, { "\x80\x01.", 3 }, { "\x80\x06.", 3 }, { "(dp0\n.", 6 }, { "PK\3\4", 4 } };
    rgi_torch_pickle p;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) CHECK(read_pickle(&p, bad[i].text, bad[i].n) == RG_ERR_FORMAT && strstr(error.message, "does not begin as"));
    CHECK(read_pickle(&p, "\x80\2", 2) == RG_ERR_FORMAT && strstr(error.message, "has no end"));
    static const char known[] = "()}NcXJKMqrhjtusbQR.\x85\x86\x87\x88\x89\x8a\x8c\x93\x94\x95";
    size_t n_unknown = 0;
    for (int opcode = 0; opcode < 256; opcode++) {
        const char text[] = { '\x80', 2, '}', (char)opcode, '.' };
        CHECK_EQUAL(read_pickle(&p, text, 5), RG_ERR_FORMAT);
        const bool is_unknown = strstr(error.message, "unknown") != NULL;
        CHECK(is_unknown == !(opcode && strchr(known, opcode)));
        n_unknown += is_unknown;
    }
    CHECK_EQUAL(n_unknown, 256 - 30);
}

/* Repeats a piece of text. */
static void repeat(torch_pickle *w, const char *text, size_t n_bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) torch_put(&w->b, text, n_bytes);
}

TEST(bombs_take_no_more_memory_than_promised)
{
    static const struct { const char *first, *again; size_t n_first, n_again; rg_status status; } bombs[] = {
        { "", "(", 0, 1, RG_ERR_LIMIT },                               /* marks */
        { "N", "\x85", 1, 1, RG_ERR_LIMIT },                           /* nested tuples */
        { "", "}", 0, 1, RG_ERR_LIMIT },                               /* dictionaries */
        { "N", "\x94", 1, 1, RG_ERR_LIMIT },                           /* memory */
        { "Nq\0", "h\0h\0\x86q\0", 3, 7, RG_ERR_LIMIT },               /* a billion laughs */
        { "N", "q\0", 1, 2, RG_ERR_FORMAT },                           /* one place again and again: allowed, but no dictionary */
        { "", "X\0\0\0\0", 0, 5, RG_ERR_LIMIT },                       /* texts */
        { "", "ccollections\nOrderedDict\n)R", 0, 27, RG_ERR_LIMIT },
        { "}", KEY "Ns", 1, 8, RG_ERR_FORMAT },                        /* one key again and again */
        { "(", "((((((((((((((((", 1, 16, RG_ERR_LIMIT },
    };
    double most = 0;
    for (size_t i = 0; i < sizeof bombs / sizeof *bombs; i++)
        for (size_t n_bytes = 20000; n_bytes <= (8u << 20); n_bytes *= 20) {
            torch_pickle w;
            rgi_torch_pickle p;
            torch_begin(&w, 4);
            torch_put(&w.b, bombs[i].first, bombs[i].n_first);
            repeat(&w, bombs[i].again, bombs[i].n_again, n_bytes / bombs[i].n_again);
            torch_put_text(&w.b, ".");
            const rg_status status = read_pickle(&p, w.b.bytes, w.b.n);
            CHECK(status == bombs[i].status || status == RG_ERR_FORMAT);
            if (n_bytes > 4u << 20) CHECK_EQUAL(status, bombs[i].status);
            CHECK(fake.peak_bytes <= ((size_t)32 << 20) + 4 * w.b.n);
            if ((double)fake.peak_bytes > most) most = (double)fake.peak_bytes;
            torch_free(&w.b);
        }
    /* Tensors as short as they can be made, of what was remembered: storage, sizes, hooks. */
    torch_pickle w;
    torch_begin(&w, 4);
    static const char remembered[] = "ctorch._utils\n_rebuild_tensor_v2\nq\0" STORAGE "q\1K\006\x85q\2" HOOKS "q\3K\0q\4";
    torch_put(&w.b, remembered, sizeof remembered - 1);
    repeat(&w, "h\0(h\1h\4h\2h\2\x89h\3tR", 16, 100000);
    torch_put_text(&w.b, ".");
    expect(&w, RG_ERR_LIMIT, "more values than 65536 tensors need");
    if ((double)fake.peak_bytes > most) most = (double)fake.peak_bytes;
    printf("TABLE pickles meant to take memory: at most %.1f MiB taken (32 MiB and four times the file are allowed)\n", most / (1 << 20));
    torch_free(&w.b);
}

/* As many tensors as the limit allows, in one batch and in batches of 1,000, are no bomb. */
TEST(a_dictionary_may_have_as_many_tensors_as_the_limit_says)
{
    for (int is_batched = 0; is_batched < 2; is_batched++) {
        torch_pickle w;
        rgi_torch_pickle p;
        torch_begin(&w, 2);
        torch_put_ordered_dict(&w);
        torch_put_text(&w.b, "(");
        for (int i = 0; i < 65536; i++) {
            char name[16];
            snprintf(name, sizeof name, "t%d", i);
            torch_put_string(&w, name);
            torch_put_value(&w, &samples[1]);
            if (is_batched && i % 1000 == 999) torch_put_text(&w.b, "u(");
        }
        torch_put_text(&w.b, "u.");
        const rg_status status = read_pickle(&p, w.b.bytes, w.b.n);
        CHECK_EQUAL(status, RG_OK);
        CHECK_EQUAL(p.n_tensors, 65536);
        CHECK(fake.peak_bytes <= ((size_t)32 << 20) + 4 * w.b.n);
        if (status == RG_OK) clear(&p);
        torch_free(&w.b);
    }
}

TEST(a_pickle_that_is_cut_off_or_has_a_flipped_bit_does_no_harm)
{
    torch_bytes b = torch_load("tests/data/golden/bf16-sharded/deepmind.pt");
    const size_t bytes = 5506;
    rgi_torch_pickle p;
    REQUIRE(b.n > 64 + bytes);
    for (size_t n = 0; n < bytes; n++) CHECK_EQUAL(read_pickle(&p, b.bytes + 64, n), RG_ERR_FORMAT);
    size_t n_read = 0;
    for (size_t i = 0; i < bytes; i++)
        for (int bit = 0; bit < 8; bit++) {
            b.bytes[64 + i] ^= (unsigned char)(1 << bit);
            const rg_status status = read_pickle(&p, b.bytes + 64, bytes);
            CHECK(status == RG_OK || status == RG_ERR_FORMAT || status == RG_ERR_LIMIT);
            if (status == RG_OK) {
                CHECK_EQUAL(p.n_tensors, 51);
                n_read++;
                clear(&p);
            }
            b.bytes[64 + i] ^= (unsigned char)(1 << bit);
        }
    printf("TABLE bits of a pickle flipped: %zu of %zu refused, the others say something else\n", 8 * bytes - n_read, 8 * bytes);
    torch_free(&b);
}

TEST(memory_that_runs_out_is_told)
{
    torch_bytes b = torch_load("tests/data/golden/bf16-sharded/deepmind.pt");
    REQUIRE(b.n > 64 + 5506);
    for (size_t at = 1;; at++) {
        const rgi_host host = fake_host_of(&fake);
        rgi_torch_pickle p;
        fake_reset(&fake);
        fake.fail_allocation_at = at;
        const rg_status status = rgi_torch_pickle_read(&p, &host, (const char *)b.bytes + 64, 5506, "x.pt", 64, &error);
        if (status == RG_OK) {
            CHECK(at > 5);
            clear(&p);
            break;
        }
        CHECK_EQUAL(status, RG_ERR_MEMORY);
        CHECK_EQUAL(fake.n_blocks, 0);
    }
    fake_reset(&fake);
    torch_free(&b);
}

int main(void)
{
    RUN(dictionaries_that_torch_wrote_are_read);
    RUN(protocols_2_to_5_and_both_kinds_of_dictionary_are_read);
    RUN(a_state_dict_and_parameters_are_read);
    RUN(code_is_not_run_but_refused);
    RUN(what_is_no_flat_dictionary_of_tensors_is_refused);
    RUN(tensors_are_made_of_what_they_need);
    RUN(beginnings_and_instructions_that_are_not_known_are_refused);
    RUN(bombs_take_no_more_memory_than_promised);
    RUN(a_dictionary_may_have_as_many_tensors_as_the_limit_says);
    RUN(a_pickle_that_is_cut_off_or_has_a_flipped_bit_does_no_harm);
    RUN(memory_that_runs_out_is_told);
    return test_end();
}
