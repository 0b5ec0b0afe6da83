/* SPDX-License-Identifier: Apache-2.0
 * Power that fails at any moment of saving. Killing a process cannot test this, for the system still writes what the process left. So the
 * file operations of saves are recorded, and after each of them every disk is made that a system may leave when its power goes:
 *
 *   - of bytes that were not synced, each write by itself is kept, dropped, zero, or torn at a 512-byte boundary: the front part alone, with
 *     zeros behind it (the size was written before the bytes), or the rear part alone;
 *   - of names that were given and taken since the folder was last synced, any choice has reached the disk; a rename does so as one.
 *
 * On each disk the target must be one whole version, and none older than the last that was reported as saved. */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>

#include "save_pieces.h"
#include "test.h"

#define TARGET "folder/target"
#define N_VERSIONS 3
#define BYTES 9000

static const size_t version_bytes[N_VERSIONS + 1] = { 0, 9000, 9000, 7000 };
static unsigned char versions[N_VERSIONS + 1][BYTES]; /* without a zero byte; [0] is not used */

typedef struct written {
    size_t at, n;
    const unsigned char *bytes;
} written;

/* A file apart from its name. */
typedef struct inode {
    written writes[8];
    size_t n_writes;
} inode;

enum { OP_CREATE, OP_WRITE, OP_SYNC, OP_RENAME, OP_REMOVE, OP_SYNC_FOLDER, /* what the caller saw: */ OP_BEGUN, OP_SAVED, OP_FAILED };

typedef struct op {
    int kind;
    int inode;        /* of all but OP_SYNC_FOLDER and what the caller saw */
    bool is_target;   /* OP_REMOVE: of the target; otherwise of the temporary file */
    int version;      /* what the caller saw */
} op;

/* What is done wrong on purpose, or fails. */
enum { RIGHT, NO_SYNC, SYNC_AFTER_RENAME, NO_FOLDER_SYNC, REMOVE_BEFORE_RENAME, /* failures: */ WRITE_FAILS, SYNC_FAILS, CLOSE_FAILS, RENAME_FAILS, FOLDER_SYNC_FAILS };

typedef struct recorder {
    int behaviour;
    op ops[128];
    size_t n_ops;
    inode inodes[8];
    int n_inodes;
    int open_inode;     /* the one being written */
    bool has_temporary; /* names as a running process sees them */
} recorder;

static void record(recorder *r, int kind, int version)
{
    REQUIRE(r->n_ops < sizeof r->ops / sizeof r->ops[0]);
    r->ops[r->n_ops++] = (op){ .kind = kind, .inode = r->open_inode, .version = version };
}

static rg_status fault(int *system_error)
{
    *system_error = EIO;
    return RG_ERR_IO;
}

static rg_status disk_open(void *user, void **file, const char *path, int mode, int *system_error)
{
    recorder *r = user;
    (void)system_error;
    if (mode == RG_IO_READ) return RG_ERR_NOT_FOUND; /* whether something else than a file is at the target */
    REQUIRE(mode == RG_IO_CREATE && strncmp(path, TARGET ".", strlen(TARGET) + 1) == 0 && !r->has_temporary && r->n_inodes < 8);
    r->open_inode = r->n_inodes++;
    r->has_temporary = true;
    record(r, OP_CREATE, 0);
    *file = &r->inodes[r->open_inode];
    return RG_OK;
}

static rg_status disk_write(void *user, void *file, const void *bytes, size_t n_bytes, int *system_error)
{
    recorder *r = user;
    inode *i = file;
    const size_t at = i->n_writes ? i->writes[i->n_writes - 1].at + i->writes[i->n_writes - 1].n : 0;
    const bool fails = r->behaviour == WRITE_FAILS && i->n_writes == 2;
    REQUIRE(i->n_writes < 8);
    i->writes[i->n_writes++] = (written){ at, fails ? n_bytes / 2 : n_bytes, bytes };
    record(r, OP_WRITE, 0);
    return fails ? fault(system_error) : RG_OK;
}

static rg_status disk_sync(void *user, void *file, int *system_error)
{
    recorder *r = user;
    (void)file;
    if (r->behaviour == SYNC_FAILS) return fault(system_error);
    if (r->behaviour != NO_SYNC && r->behaviour != SYNC_AFTER_RENAME) record(r, OP_SYNC, 0);
    return RG_OK;
}

static rg_status disk_close_write(void *user, void *file, int *system_error)
{
    (void)file;
    return ((recorder *)user)->behaviour == CLOSE_FAILS ? fault(system_error) : RG_OK;
}

static rg_status disk_rename(void *user, const char *from, const char *to, int *system_error)
{
    recorder *r = user;
    REQUIRE(strcmp(to, TARGET) == 0 && strcmp(from, TARGET) != 0 && r->has_temporary);
    if (r->behaviour == RENAME_FAILS) return fault(system_error);
    if (r->behaviour == REMOVE_BEFORE_RENAME) {
        record(r, OP_REMOVE, 0);
        r->ops[r->n_ops - 1].is_target = true;
    }
    record(r, OP_RENAME, 0);
    r->has_temporary = false;
    if (r->behaviour == SYNC_AFTER_RENAME) record(r, OP_SYNC, 0);
    return RG_OK;
}

static rg_status disk_remove(void *user, const char *path, int *system_error)
{
    recorder *r = user;
    (void)system_error;
    REQUIRE(strcmp(path, TARGET) != 0 && r->has_temporary);
    record(r, OP_REMOVE, 0);
    r->has_temporary = false;
    return RG_OK;
}

static rg_status disk_sync_directory(void *user, const char *path, int *system_error)
{
    recorder *r = user;
    REQUIRE(strcmp(path, "folder") == 0);
    if (r->behaviour == FOLDER_SYNC_FAILS) return fault(system_error);
    if (r->behaviour != NO_FOLDER_SYNC) record(r, OP_SYNC_FOLDER, 0);
    return RG_OK;
}

/* Saves a version in three pieces, which cross boundaries of sectors and of pages. */
static rg_status save(recorder *r, int version)
{
    rgi_host host;
    REQUIRE(rgi_host_init(&host, NULL, NULL, NULL, NULL) == RG_OK);
    host.io.user = r;
    host.io.open = disk_open;
    host.io.write = disk_write;
    host.io.sync = disk_sync;
    host.io.close_write = disk_close_write;
    host.io.rename = disk_rename;
    host.io.remove = disk_remove;
    host.io.sync_directory = disk_sync_directory;
    record(r, OP_BEGUN, version);
    const rg_status status = save_in_pieces(&host, TARGET, versions[version], version_bytes[version], 100, 5000, NULL);
    if (status != RG_ERR_NOT_DURABLE) record(r, status == RG_OK ? OP_SAVED : OP_FAILED, version);
    return status;
}

/* What of one write is on the disk: the bytes [first, last) of the file; and how long the file is by it. */
typedef struct piece {
    size_t first, last, size;
} piece;

/* How many ways there are, and way number `way`. */
static size_t count_ways(const written *w) { return 3 + 3 * ((w->at + w->n - 1) / 512 - w->at / 512); }

static piece way_of(const written *w, size_t way)
{
    const size_t end = w->at + w->n, boundary = (w->at / 512 + 1 + (way - 3) / 3) * 512;
    if (way == 0) return (piece){ w->at, end, end };
    if (way == 1) return (piece){ w->at, w->at, 0 };    /* dropped */
    if (way == 2) return (piece){ w->at, w->at, end };  /* zeros */
    if (way % 3 == 0) return (piece){ w->at, boundary, boundary };
    if (way % 3 == 1) return (piece){ w->at, boundary, end };
    return (piece){ boundary, end, end };
}

/* The machine when its power goes: what was recorded up to then. */
typedef struct moment {
    const recorder *r;
    size_t n_synced[8], n_written[8]; /* writes of each inode */
    const op *names[16];              /* given and taken since the folder was synced */
    size_t n_names;
    int target;                       /* the inode of that name when the folder was synced; -1: none */
    int saved, newest;                /* versions that the target may be: from, to */
} moment;

static void apply(const op *o, int *target)
{
    if (o->kind == OP_RENAME) *target = o->inode;
    if (o->kind == OP_REMOVE && o->is_target) *target = -1;
}

static moment moment_after(const recorder *r, size_t n_ops)
{
    moment m = { .r = r, .target = -1 };
    for (size_t i = 0; i < n_ops; i++) {
        const op *o = &r->ops[i];
        switch (o->kind) {
        case OP_WRITE: m.n_written[o->inode]++; break;
        case OP_SYNC: m.n_synced[o->inode] = m.n_written[o->inode]; break;
        case OP_SYNC_FOLDER:
            for (size_t k = 0; k < m.n_names; k++) apply(m.names[k], &m.target);
            m.n_names = 0;
            break;
        case OP_BEGUN: m.newest = o->version; break;
        case OP_SAVED: m.saved = o->version; break;
        case OP_FAILED: m.newest = m.saved; break;
        default:
            REQUIRE(m.n_names < 16);
            m.names[m.n_names++] = o;
        }
    }
    return m;
}

/* Which version an inode holds with these ways of its unsynced writes; -1: none of them. */
static int version_of(const moment *m, int number, const size_t *ways)
{
    static unsigned char bytes[BYTES];
    const inode *i = &m->r->inodes[number];
    size_t size = 0;
    memset(bytes, 0, sizeof bytes);
    for (size_t w = 0; w < m->n_written[number]; w++) {
        const piece p = way_of(&i->writes[w], w < m->n_synced[number] ? 0 : ways[w]);
        memcpy(bytes + p.first, i->writes[w].bytes + (p.first - i->writes[w].at), p.last - p.first);
        if (p.size > size) size = p.size;
    }
    for (int v = 1; v <= N_VERSIONS; v++)
        if (size == version_bytes[v] && memcmp(bytes, versions[v], size) == 0) return v;
    return -1;
}

typedef struct tally {
    size_t n_moments, n_disks, n_bad, n_old, n_new, n_absent;
} tally;

static void judge(const moment *m, int target, const size_t *ways, tally *t)
{
    const int version = target < 0 ? 0 : version_of(m, target, ways);
    t->n_disks++;
    if (version < m->saved || version > m->newest || (target >= 0 && version <= 0)) t->n_bad++;
    else if (version == 0) t->n_absent++;
    else if (version == m->saved) t->n_old++;
    else t->n_new++;
}

/* All ways of the unsynced writes of one file: of the target, where it has any, otherwise of the one that is being written. */
static void judge_contents(const moment *m, int target, int open_inode, tally *t)
{
    size_t ways[8] = { 0 };
    const int varied = target >= 0 && m->n_synced[target] < m->n_written[target] ? target : open_inode;
    for (;;) {
        judge(m, target, ways, t);
        size_t w = varied < 0 ? 8 : m->n_synced[varied];
        for (; w < (varied < 0 ? 0 : m->n_written[varied]); w++) {
            if (++ways[w] < count_ways(&m->r->inodes[varied].writes[w])) break;
            ways[w] = 0;
        }
        if (varied < 0 || w >= m->n_written[varied]) return;
    }
}

/* Every disk that may be left at any moment of what was recorded. */
static tally lose_power(const recorder *r)
{
    tally t = { 0 };
    for (size_t n_ops = 0; n_ops <= r->n_ops; n_ops++, t.n_moments++) {
        const moment m = moment_after(r, n_ops);
        const int open_inode = n_ops ? r->ops[n_ops - 1].inode : -1;
        for (size_t choice = 0; choice < (size_t)1 << m.n_names; choice++) {
            int target = m.target;
            for (size_t k = 0; k < m.n_names; k++)
                if (choice >> k & 1) apply(m.names[k], &target);
            judge_contents(&m, target, open_inode, &t);
        }
    }
    return t;
}

/* Saves all versions; `second` is how the second save behaves. */
static tally try_protocol(const char *name, int behaviour, int second, rg_status expected)
{
    recorder r = { .behaviour = behaviour, .open_inode = -1 };
    CHECK_EQUAL(save(&r, 1), RG_OK);
    r.behaviour = second;
    CHECK_EQUAL(save(&r, 2), expected);
    r.behaviour = behaviour;
    CHECK_EQUAL(save(&r, 3), RG_OK);
    const tally t = lose_power(&r);
    printf("%-24s %3zu moments, %6zu disks: %zu not there yet, %zu old, %zu new, %zu wrong\n", name, t.n_moments, t.n_disks, t.n_absent, t.n_old, t.n_new, t.n_bad);
    return t;
}

TEST(no_disk_that_a_loss_of_power_leaves_has_a_third_thing)
{
    const tally t = try_protocol("all saves succeed", RIGHT, RIGHT, RG_OK);
    CHECK(t.n_bad == 0 && t.n_absent > 0 && t.n_old > 0 && t.n_new > 0 && t.n_disks > 1000);
}

TEST(nor_has_one_that_is_left_by_saves_that_fail)
{
    CHECK_EQUAL(try_protocol("a write fails", RIGHT, WRITE_FAILS, RG_ERR_IO).n_bad, 0);
    CHECK_EQUAL(try_protocol("a sync fails", RIGHT, SYNC_FAILS, RG_ERR_IO).n_bad, 0);
    CHECK_EQUAL(try_protocol("closing fails", RIGHT, CLOSE_FAILS, RG_ERR_IO).n_bad, 0);
    CHECK_EQUAL(try_protocol("a rename fails", RIGHT, RENAME_FAILS, RG_ERR_IO).n_bad, 0);
    CHECK_EQUAL(try_protocol("syncing the folder fails", RIGHT, FOLDER_SYNC_FAILS, RG_ERR_NOT_DURABLE).n_bad, 0);
}

/* Otherwise the two above would say nothing. */
TEST(a_wrong_protocol_is_caught)
{
    CHECK(try_protocol("wrong: no sync", NO_SYNC, NO_SYNC, RG_OK).n_bad > 0);
    CHECK(try_protocol("wrong: sync after rename", SYNC_AFTER_RENAME, SYNC_AFTER_RENAME, RG_OK).n_bad > 0);
    CHECK(try_protocol("wrong: folder not synced", NO_FOLDER_SYNC, NO_FOLDER_SYNC, RG_OK).n_bad > 0);
    CHECK(try_protocol("wrong: removed first", REMOVE_BEFORE_RENAME, REMOVE_BEFORE_RENAME, RG_OK).n_bad > 0);
}

int main(void)
{
    for (int v = 1; v <= N_VERSIONS; v++)
        for (size_t i = 0; i < BYTES; i++) versions[v][i] = (unsigned char)(1 + (i * 7 + (size_t)v * 83 + i / 255) % 255);
    RUN(no_disk_that_a_loss_of_power_leaves_has_a_third_thing);
    RUN(nor_has_one_that_is_left_by_saves_that_fail);
    RUN(a_wrong_protocol_is_caught);
    return test_end();
}
