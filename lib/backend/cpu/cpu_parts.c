/* SPDX-License-Identifier: Apache-2.0
 * Products of many rows, part of K by part of K: all columns take their sums through one part before the next begins.
 *
 * So the rows' share of a part stays in the second cache of every core while weights stream by; what is paid for it is that sums go to
 * memory and come back between parts. Threads meet after each part and hand out columns anew, so none waits long for another. The sizes follow
 * from measurements of one core's loops (amx_body.h); what meeting and handing out cost there is assumed to be little, not measured. */
#include "backend/cpu/cpu_matmul.h"
#include "base/checked.h"

#define MOST_COLUMNS 128  /* of one task */
#define TASKS_OF_THREAD 8 /* at least so many while there are columns enough, so that none waits long for the last one */
#define FINISH_ROWS 16
#define PASS_BYTES ((size_t)8 << 20) /* of sums for each thread: more would not come back from a cache. Fewer columns go through all of K first */

typedef struct rows_in_parts {
    const rgi_products *p;
    float *sums;
    size_t panel_floats, task_floats; /* sums of one panel, and of one task */
    size_t columns;                   /* of one task */
    size_t first_task, n_tasks;       /* of this pass */
    size_t from, depth;
} rows_in_parts;

static bool is_gated(const rgi_products *p)
{
    bool is = false;
    for (size_t s = 0; s < p->n_sources; s++) is = is || p->sources[s].second_w;
    return is;
}

/* A task's columns and the tasks of one pass. */
static void choose_sizes(rgi_products *p, rows_in_parts *parts, size_t *n_tasks, size_t *pass_tasks)
{
    const size_t n_threads = p->backend->parallel.n_threads;
    parts->columns = MOST_COLUMNS;
    while ((*n_tasks = rgi_cut_into_tasks(p, parts->columns)) < TASKS_OF_THREAD * n_threads && parts->columns > RGI_PART_COLUMNS) parts->columns /= 2;
    parts->panel_floats = rgi_part_floats(p->packed.n_rows);
    parts->task_floats = parts->panel_floats * (parts->columns / RGI_PART_COLUMNS) * (is_gated(p) ? 2 : 1);
    const size_t most = rgi_max_size(n_threads, n_threads * PASS_BYTES / (parts->task_floats * sizeof(float))), n_passes = (*n_tasks + most - 1) / most;
    *pass_tasks = (*n_tasks + n_passes - 1) / n_passes;
}

size_t rgi_parts_bytes(rgi_products *p)
{
    rows_in_parts parts = { .p = p };
    size_t n_tasks, pass_tasks;
    choose_sizes(p, &parts, &n_tasks, &pass_tasks);
    return pass_tasks * parts.task_floats * sizeof(float);
}

/* Columns [n, n + n_columns) of a source, in panels; of gated products each panel is followed by that of second_w. */
typedef struct task {
    const rgi_panel_source *source;
    size_t n, n_columns, n_panels;
} task;

static task task_at(const rows_in_parts *parts, size_t index)
{
    const rgi_panel_source *source = rgi_source_of(parts->p, parts->first_task + index);
    task t = { .source = source, .n = (parts->first_task + index - source->first_task) * parts->columns };
    t.n_columns = rgi_min_size(parts->columns, source->w->shape[0] - t.n);
    t.n_panels = (t.n_columns + RGI_PART_COLUMNS - 1) / RGI_PART_COLUMNS * (source->second_w ? 2 : 1);
    return t;
}

static rgi_weights_at panel_at(const rows_in_parts *parts, const task *t, size_t i, size_t *n_columns)
{
    const size_t first = (t->source->second_w ? i / 2 : i) * RGI_PART_COLUMNS;
    *n_columns = rgi_min_size(RGI_PART_COLUMNS, t->n_columns - first);
    return rgi_source_weights(parts->p, t->source, t->source->second_w && i % 2, t->n + first);
}

/* Of weights of 8 or 4 bits: what part of a panel is multiplied with goes into the room. */
static void unpack_panel(const rows_in_parts *parts, const task *t, size_t i, rgi_part *part, void *room)
{
    const rg_tensor *w = t->source->second_w && i % 2 ? t->source->second_w : t->source->w;
    const size_t first = (t->source->second_w ? i / 2 : i) * RGI_PART_COLUMNS;
    part->w = rgi_unpack_columns(parts->p, w, t->n + first, part->n_columns, part->from, part->k, room);
    part->next = NULL;
}

static void finish_task(const rows_in_parts *parts, const task *t, const float *task_sums)
{
    const size_t n_each = t->source->second_w ? 2 : 1;
    _Alignas(64) float sums[2][FINISH_ROWS * MOST_COLUMNS];
    for (size_t m = 0; m < parts->p->packed.n_rows; m += FINISH_ROWS) {
        const size_t n_rows = rgi_min_size(FINISH_ROWS, parts->p->packed.n_rows - m);
        for (size_t i = 0; i < t->n_panels; i++)
            parts->p->backend->kernels->collect(sums[i % n_each] + i / n_each * RGI_PART_COLUMNS, MOST_COLUMNS, task_sums + i * parts->panel_floats, m, n_rows);
        rgi_finish_rows(parts->p, t->source, sums[0], sums[1], MOST_COLUMNS, m, n_rows, t->n, t->n_columns);
    }
}

/* A thread's next task is most likely the one that follows; what is fetched for it is only a guess. */
static void make_part(void *argument, size_t index, void *room)
{
    const rows_in_parts *parts = argument;
    const rgi_packed *x = &parts->p->packed;
    const size_t guess = index + 1;
    const task t = task_at(parts, index), after = task_at(parts, guess < parts->n_tasks ? guess : index);
    float *sums = parts->sums + index * parts->task_floats;
    rgi_part part = { .x = x, .from = parts->from, .k = rgi_min_size(parts->depth, x->k - parts->from) };
    for (size_t i = 0; i < t.n_panels; i++) {
        const rgi_weights_at next = i + 1 < t.n_panels ? panel_at(parts, &t, i + 1, &part.n_next) : panel_at(parts, &after, 0, &part.n_next);
        part.sums = sums + i * parts->panel_floats;
        part.w = panel_at(parts, &t, i, &part.n_columns);
        part.next = i + 1 < t.n_panels || guess < parts->n_tasks ? &next : NULL;
        if (parts->p->unpacked_k) unpack_panel(parts, &t, i, &part, room);
        parts->p->backend->kernels->accumulate(&part);
    }
    if (parts->from + parts->depth >= x->k) finish_task(parts, &t, sums);
}

void rgi_run_parts(rgi_products *p, size_t depth, void *memory)
{
    rows_in_parts parts = { .p = p, .sums = memory, .depth = depth };
    size_t n_tasks, pass_tasks;
    choose_sizes(p, &parts, &n_tasks, &pass_tasks);
    for (parts.first_task = 0; parts.first_task < n_tasks; parts.first_task += pass_tasks) {
        parts.n_tasks = rgi_min_size(pass_tasks, n_tasks - parts.first_task);
        for (parts.from = 0; parts.from < p->packed.k; parts.from += depth) rgi_cpu_run(p->backend, make_part, &parts, parts.n_tasks);
    }
}
