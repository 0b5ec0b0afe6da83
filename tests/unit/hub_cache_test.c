/* SPDX-License-Identifier: Apache-2.0
 * Finding a model in a hub cache folder, and ids and refs that try to lead out of it. */
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "fake_host.h"
#include "io/checkpoint.h"
#include "test.h"

static fake_host fake;
static rg_error error;

static rg_status find(char **folder, const char *id)
{
    rgi_host host = fake_host_of(&fake);
    error = (rg_error)RG_ERROR_INIT;
    const rg_status status = rgi_hub_cache_find(folder, &host, "cache", id, &error);
    if (status != RG_OK) {
        CHECK(*folder == NULL);
        CHECK_EQUAL(fake.n_blocks, 0);
        CHECK_EQUAL(error.status, status);
    }
    CHECK_EQUAL(fake.n_open, 0);
    return status;
}

TEST(ids_have_an_owner_and_a_name)
{
    static const char *const good[] = { "google/recurrentgemma-2b-it", "a/b", "AZ_b.c-09/xz.y", "a./b." };
    static const char *const bad[] = { "", "/", "a", "a/", "/b", "a/b/c", "a//b", "../b", "a/..", "./b", "a/.b", ".a/b", "a b/c", "a/b\n", "~/x", "a\\b/c", "a/b:c", "\xc3\xa9/x", "`/x", "{/x", "@/x", "[/x", "a:/x" };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) CHECK(rgi_is_hub_id(good[i]));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char *folder;
        CHECK(!rgi_is_hub_id(bad[i]));
        CHECK_EQUAL(find(&folder, bad[i]), RG_ERR_PATH);
        CHECK_EQUAL(fake.io_calls, 0);
    }
}

TEST(the_snapshot_that_main_names_is_the_folder)
{
    static const char *const contents[] = { "0123456789abcdef0123456789abcdef01234567", "0123456789abcdef0123456789abcdef01234567\n", "0123456789abcdef0123456789abcdef01234567\r\n" };
    for (size_t i = 0; i < 3; i++) {
        char *folder;
        rgi_host host = fake_host_of(&fake);
        fake_put(&fake, "cache/models--google--recurrentgemma-2b-it/refs/main", contents[i], strlen(contents[i]));
        CHECK_EQUAL(find(&folder, "google/recurrentgemma-2b-it"), RG_OK);
        CHECK(strcmp(folder, "cache/models--google--recurrentgemma-2b-it/snapshots/0123456789abcdef0123456789abcdef01234567") == 0);
        rgi_free(&host.allocator, folder);
        CHECK_EQUAL(fake.n_blocks, 0);
    }
}

TEST(refs_that_are_no_plain_names_are_refused)
{
    static const struct { const char *text; size_t n; } contents[] = { { "", 0 }, { "\n", 1 }, { "..", 2 }, { ".", 1 }, { ".git", 4 }, { "../../x", 7 }, { "a/b", 3 }, { "/etc", 4 },
        { "a\nb", 3 }, { "a b", 3 }, { "a\0b", 3 }, { "abc\0", 4 }, { "\xff", 1 } };
    for (size_t i = 0; i < sizeof contents / sizeof *contents; i++) {
        char *folder;
        fake_put(&fake, "cache/models--a--b/refs/main", contents[i].text, contents[i].n);
        CHECK_EQUAL(find(&folder, "a/b"), RG_ERR_PATH);
        CHECK(strstr(error.message, "cache/models--a--b/refs/main: does not hold the name of a snapshot"));
    }
    char *folder, large[300];
    memset(large, 'a', sizeof large);
    fake_put(&fake, "cache/models--a--b/refs/main", large, sizeof large);
    CHECK_EQUAL(find(&folder, "a/b"), RG_ERR_LIMIT);
}

TEST(what_is_not_in_the_cache_is_named_with_its_place)
{
    char *folder;
    CHECK_EQUAL(find(&folder, "google/absent"), RG_ERR_NOT_FOUND);
    CHECK(strcmp(error.message, "google/absent is not in the hub cache cache: there is no file cache/models--google--absent/refs/main") == 0);
}

TEST(failing_memory_and_files_leave_nothing_behind)
{
    fake_put(&fake, "cache/models--a--b/refs/main", "abc", 3);
    for (int is_memory = 0; is_memory < 2; is_memory++)
        for (size_t nth = 1;; nth++) {
            char *folder;
            rgi_host host = fake_host_of(&fake);
            fake_reset(&fake);
            *(is_memory ? &fake.fail_allocation_at : &fake.fail_io_at) = nth;
            const rg_status status = find(&folder, "a/b");
            if (status == RG_OK) {
                CHECK(nth > 3 && nth > (is_memory ? fake.allocations : fake.io_calls));
                rgi_free(&host.allocator, folder);
                break;
            }
            CHECK_EQUAL(status, is_memory ? RG_ERR_MEMORY : RG_ERR_IO);
        }
    fake_reset(&fake);
}

TEST(an_incomplete_snapshot_of_a_real_cache_is_not_found)
{
    char cache[] = P_tmpdir "/rg_hub_cache_test_XXXXXX", path[5][200], *folder = NULL;
    static const char *const parts[] = { "", "/models--a--b", "/models--a--b/refs", "/models--a--b/snapshots", "/models--a--b/snapshots/c0ffee" };
    rgi_host host;
    REQUIRE(mkdtemp(cache));
    CHECK_EQUAL(rgi_host_init(&host, NULL, NULL, NULL, NULL), RG_OK);
    for (int i = 1; i < 5; i++) {
        snprintf(path[i], sizeof path[i], "%s%s", cache, parts[i]);
        if (i < 4) REQUIRE(mkdir(path[i], 0700) == 0);
    }
    char main_path[300];
    snprintf(main_path, sizeof main_path, "%s/main", path[2]);
    FILE *f = fopen(main_path, "w");
    REQUIRE(f && fputs("c0ffee\n", f) >= 0 && fclose(f) == 0);
    CHECK_EQUAL(rgi_hub_cache_find(&folder, &host, cache, "a/b", &error), RG_ERR_NOT_FOUND);
    CHECK(folder == NULL && strstr(error.message, "a/b is not complete in the hub cache ") && strstr(error.message, "/snapshots/c0ffee"));
    REQUIRE(mkdir(path[4], 0700) == 0);
    CHECK_EQUAL(rgi_hub_cache_find(&folder, &host, cache, "a/b", &error), RG_OK);
    CHECK(folder && strcmp(folder, path[4]) == 0);
    rgi_free(&host.allocator, folder);
    unlink(main_path);
    for (int i = 4; i > 0; i--) rmdir(path[i]);
    rmdir(cache);
}

int main(void)
{
    RUN(ids_have_an_owner_and_a_name);
    RUN(the_snapshot_that_main_names_is_the_folder);
    RUN(refs_that_are_no_plain_names_are_refused);
    RUN(what_is_not_in_the_cache_is_named_with_its_place);
    RUN(failing_memory_and_files_leave_nothing_behind);
    RUN(an_incomplete_snapshot_of_a_real_cache_is_not_found);
    return test_end();
}
