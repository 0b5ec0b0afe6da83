#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The long campaigns, one after the other. They write to LARGE (default: build/large), which keeps models from one run to the next, and
# install what they compare with (Python packages in a folder of their own). The last line sums them up.
cd "$(dirname "$0")/../.." || exit 1
BUILD=${BUILD:-build}
LARGE=${LARGE:-$BUILD/large}
PYTHON=${PYTHON:-/usr/bin/python3}
export BUILD LARGE
mkdir -p "$LARGE"
if [ ! -x "$LARGE/venv/bin/python" ]; then
    "$PYTHON" -m venv "$LARGE/venv" && "$LARGE/venv/bin/pip" install -q numpy sentencepiece safetensors || { echo "the oracles need Debian's python3-venv, and their Python packages"; exit 1; }
fi
PATH=$(cd "$LARGE/venv/bin" && pwd):$PATH
export PATH
TEST_SECONDS=7200 PYTHON=python sh tests/run.sh tests/large/exact_campaign_test.sh "$BUILD/tests/large/exact_cost_test" tests/large/aarch64_test.sh tests/large/presets_test.py "$BUILD/tests/large/interrupt_2b_test" "$BUILD/tests/large/open_speed_test" "$BUILD/tests/large/native_speed_test" "$BUILD/tests/large/vocab_open_test" "$BUILD/tests/large/generate_speed_test" "$BUILD/tests/large/snapshot_speed_test" tests/large/snapshot_campaign_test.sh "$BUILD/tests/large/fork_2b_test" tests/large/lives_campaign_test.sh tests/large/threads_campaign_test.sh tests/large/shapes_oracle.py tests/large/tokenizer_oracle.py tests/large/format_oracle.py
