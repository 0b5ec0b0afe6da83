/* SPDX-License-Identifier: Apache-2.0
 * What a host asks a snapshot to hold beside the state. */
#ifndef RGI_SNAPSHOT_PLAN_H
#define RGI_SNAPSHOT_PLAN_H

#include "state/snapshot.h"

/* The snapshot of a state, which the caller holds as a reader until the plan is cleared. options may be NULL. On failure the plan is clear. */
rg_status rgi_snapshot_plan_with(rgi_snapshot_plan *plan, const rg_state *state, const rg_snapshot_options *options, rg_error *error);

#endif
