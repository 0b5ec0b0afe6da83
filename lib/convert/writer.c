/* SPDX-License-Identifier: Apache-2.0
 * A queue of parts of a file and the thread that writes them, in their order. */
#include "convert/writer.h"

#include <signal.h>

#include "base/error.h"

/* Under the lock, which is left while the disk is waited for. */
static void write_next(rgi_writer *w)
{
    const size_t i = (size_t)(w->n_done % RGI_WRITER_PARTS);
    const unsigned char *bytes = w->parts[i].bytes;
    const uint64_t n_bytes = w->parts[i].n_bytes;
    pthread_mutex_unlock(&w->mutex);
    const rg_status status = rgi_native_out_write(w->out, bytes, n_bytes);
    pthread_mutex_lock(&w->mutex);
    w->n_done++;
    if (status != RG_OK) {
        w->status = status;
        w->n_done = w->n_put;
    }
    pthread_cond_broadcast(&w->changed);
}

static void *work(void *argument)
{
    rgi_writer *w = argument;
    pthread_mutex_lock(&w->mutex);
    while (!w->is_closing) {
        if (w->n_done < w->n_put) write_next(w);
        else pthread_cond_wait(&w->changed, &w->mutex);
    }
    pthread_mutex_unlock(&w->mutex);
    return NULL;
}

void rgi_writer_init(rgi_writer *w, rgi_native_out *out, bool is_own_thread)
{
    *w = (rgi_writer){ .out = out, .status = RG_OK, .error = RG_ERROR_INIT, .told = out->error };
    pthread_mutex_init(&w->mutex, NULL);
    pthread_cond_init(&w->changed, NULL);
    out->error = out->file.error = &w->error; /* the caller's may be written to by others meanwhile */
    if (!is_own_thread) return;
    sigset_t all, old; /* the host's signals are the host's */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    w->has_thread = pthread_create(&w->thread, NULL, work, w) == 0;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
}

void rgi_writer_clear(rgi_writer *w)
{
    if (!w->out) return;
    if (w->has_thread) {
        pthread_mutex_lock(&w->mutex);
        w->is_closing = true;
        pthread_cond_broadcast(&w->changed);
        pthread_mutex_unlock(&w->mutex);
        pthread_join(w->thread, NULL);
    }
    w->out->error = w->out->file.error = w->told;
    pthread_mutex_destroy(&w->mutex);
    pthread_cond_destroy(&w->changed);
    *w = (rgi_writer){ .out = NULL };
}

/* What came of the parts so far, its sentence to the caller's error. */
static rg_status finish(rgi_writer *w)
{
    const rg_status status = w->status;
    pthread_mutex_unlock(&w->mutex);
    if (status != RG_OK) rgi_copy_error(w->told, &w->error);
    return status;
}

rg_status rgi_writer_put(rgi_writer *w, const unsigned char *bytes, uint64_t n_bytes)
{
    pthread_mutex_lock(&w->mutex);
    while (w->status == RG_OK && w->n_put - w->n_done == RGI_WRITER_PARTS) pthread_cond_wait(&w->changed, &w->mutex);
    if (w->status == RG_OK) {
        w->parts[w->n_put % RGI_WRITER_PARTS].bytes = bytes;
        w->parts[w->n_put++ % RGI_WRITER_PARTS].n_bytes = n_bytes;
        if (w->has_thread) pthread_cond_broadcast(&w->changed);
        else write_next(w);
    }
    return finish(w);
}

rg_status rgi_writer_wait(rgi_writer *w, uint64_t n_parts)
{
    pthread_mutex_lock(&w->mutex);
    while (w->status == RG_OK && w->n_done < n_parts) pthread_cond_wait(&w->changed, &w->mutex);
    return finish(w);
}
