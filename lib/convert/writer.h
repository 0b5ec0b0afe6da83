/* SPDX-License-Identifier: Apache-2.0
 * Bytes of tensors on their way to a native file, which a thread writes while the next ones are made: a disk is waited for long, and by nobody else. */
#ifndef RGI_WRITER_H
#define RGI_WRITER_H

#include <pthread.h>

#include "io/native_out.h"

#define RGI_WRITER_PARTS 4u

typedef struct rgi_writer {
    rgi_native_out *out;
    struct {
        const unsigned char *bytes;
        uint64_t n_bytes;
    } parts[RGI_WRITER_PARTS]; /* part number i, from 0 on, at i mod RGI_WRITER_PARTS */
    uint64_t n_put, n_done;    /* parts; a failure ends all of them */
    rg_status status;
    rg_error error;            /* of the thread that writes */
    rg_error *told;
    bool has_thread, is_closing;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
} rgi_writer;

/* is_own_thread: a thread of the library's may write; without one, or where none can be had, putting writes at once. */
void rgi_writer_init(rgi_writer *writer, rgi_native_out *out, bool is_own_thread);
/* Ends the thread. What was put and not awaited may be unwritten. *writer may be zeros. */
void rgi_writer_clear(rgi_writer *writer);
/* The next bytes of the file's tensors, which stay as they are until rgi_writer_wait. Waits where RGI_WRITER_PARTS are on their way. An earlier part's failure is told too. */
rg_status rgi_writer_put(rgi_writer *writer, const unsigned char *bytes, uint64_t n_bytes);
/* Until the first n_parts of all that were put are written. */
rg_status rgi_writer_wait(rgi_writer *writer, uint64_t n_parts);

#endif
