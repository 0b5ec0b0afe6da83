#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The long campaign of many_threads_test: 1,000 schedules of eight threads.
THREADS_SCHEDULES=1000 exec "${BUILD:-build}/tests/model/many_threads_test"
