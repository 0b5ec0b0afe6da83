#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The long campaign of rewind_test: 10,000 random lives of states.
REWIND_SEQUENCES=10000 exec "${BUILD:-build}/tests/model/rewind_test"
