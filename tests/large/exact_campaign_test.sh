#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The long campaign of exact_test: 10,000 combinations over all axes, a save at every position of every model, and every configuration of BLIS.
exec "${BUILD:-build}/tests/model/exact_test" --drawn 10000 --sweep --configurations 200
