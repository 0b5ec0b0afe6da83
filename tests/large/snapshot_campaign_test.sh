#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The long campaigns with saved states: five million snapshots that were changed and hashed anew, and a resume with sampling from 100 save points of
# each model.
log=$(mktemp) || exit 1
trap 'rm -f "$log"' EXIT
"${BUILD:-build}/tests/unit/snapshot_resume_test" 100 >"$log" || { cat "$log"; exit 1; }
grep "^TABLE" "$log"
"${BUILD:-build}/tests/fail/bad_snapshot_test" 5000000
