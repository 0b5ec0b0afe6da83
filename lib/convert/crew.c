/* SPDX-License-Identifier: Apache-2.0
 * Threads that convert and verify. */
#include "base/checked.h"
#include "convert/convert.h"

#define MOST_HANDS 64u /* each takes some MiB */

bool rgi_crew_init(rgi_crew *crew, const rgi_host *host, const rg_model_options *options)
{
    const unsigned n = options && options->n_threads ? options->n_threads : rgi_count_cores();
    *crew = (rgi_crew){ .n_hands = 1 };
    if (host->io.read != rgi_system_io.read || host->io.write != rgi_system_io.write || n == 1) return true;
    if (options && options->parallel_for) {
        crew->run = options->parallel_for;
        crew->user = options->parallel_user;
        crew->n_hands = rgi_min_size(n, MOST_HANDS);
        return true;
    }
    crew->own = rgi_threads_new(&host->allocator, (unsigned)rgi_min_size(n, MOST_HANDS));
    if (!crew->own) return false;
    crew->run = rgi_threads_parallel_for;
    crew->user = crew->own;
    crew->n_hands = rgi_threads_count(crew->own);
    return true;
}

void rgi_crew_clear(rgi_crew *crew)
{
    if (crew->own) rgi_threads_free(crew->own);
    *crew = (rgi_crew){ 0 };
}

void rgi_crew_run(const rgi_crew *crew, void (*task)(void *argument, size_t hand), void *argument)
{
    if (crew->n_hands > 1) crew->run(crew->user, task, argument, crew->n_hands);
    else task(argument, 0);
}
