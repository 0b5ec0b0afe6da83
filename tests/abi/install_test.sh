#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# `make installcheck`, as one of the tests.
exec sh "$(dirname "$0")/installcheck.sh"
