/* SPDX-License-Identifier: Apache-2.0
 * Which file it is that a name stands for, to see whether another one has taken its place. */
#ifndef FILE_IDENTITY_H
#define FILE_IDENTITY_H

#include <stdbool.h>
#include <sys/stat.h>

typedef struct file_identity {
    bool is_there;
    struct stat facts;
} file_identity;

static inline file_identity file_identity_of(const char *path)
{
    file_identity file = { .is_there = false };
    file.is_there = stat(path, &file.facts) == 0;
    return file;
}

/* The same file, and not written since. */
static inline bool file_identity_is(const file_identity *a, const file_identity *b)
{
    if (!a->is_there || !b->is_there) return a->is_there == b->is_there;
    const struct stat *f = &a->facts, *g = &b->facts;
    return f->st_dev == g->st_dev && f->st_ino == g->st_ino && f->st_size == g->st_size && f->st_mtim.tv_sec == g->st_mtim.tv_sec &&
           f->st_mtim.tv_nsec == g->st_mtim.tv_nsec;
}

#endif
