#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Every example does what its first lines say on every rung of the backend "cpu" that this processor has, also on those it would not choose itself.
. "$(dirname "$0")/../abi/count.sh"

case $BUILD in /*) built=$BUILD ;; *) built=$PWD/$BUILD ;; esac
is_sanitized "$built/librecurrentgemma.so" && skip "a sanitizer's own preloaded library has to come first"
shim=$folder/choose_rung.so
check "the shim compiles" "$CC" -std=c11 -O1 -fPIC -shared -Iinclude tests/kernel/choose_rung.c -o "$shim" -ldl

# on BACKEND COMMAND...: examples that choose no backend get this one.
on() {
    backend=$1
    shift
    RG_TEST_BACKEND=$backend LD_PRELOAD=$shim "$@"
}

on cpu:none "$built/examples/greedy" tests/data/golden/griffin-rra 4 2 45 >"$folder/out" 2>"$folder/err"
check "the shim is asked: there is no rung of that name" grep -q 'cpu:none' "$folder/err"

for rung in $("$built/recurrentgemma" --version | sed -n 's/^rungs .*: //p' | tr ',' ' '); do
    on "cpu:$rung" sh tests/unit/examples_test.sh >"$folder/rung" 2>&1
    code=$?
    echo "$rung: $(tail -n 1 "$folder/rung")"
    check "all examples pass on $rung" test "$code" -eq 0
    [ "$code" -eq 0 ] || grep FAILED "$folder/rung"
done
check "there were rungs" test "$n_passed" -ge 3
finish
