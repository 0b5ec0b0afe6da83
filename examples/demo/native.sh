#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Makes demo.rgm, the file that is installed, of the weights in model/: native.sh COMMAND FILE
# The bytes depend on nothing but the weights and the version of the library.
set -e
exec "$1" convert "$(dirname "$0")/model" "$2" --quantize q8 \
    --source "the demo model of librecurrentgemma, examples/demo/model; trained from scratch on texts in the public domain: six novels by Jane Austen (1811-1818), Moby Dick by Herman Melville (1851), the King James Bible (1611)" \
    --licence "Apache-2.0"
