#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Runs test programs and scripts one after the other. Each ends with a line "N passed, N failed"; exit 77 means skipped. The last
# line sums them up; a skip is named, and counted apart.
passed=0 failed=0 skipped=0
limit=${TEST_SECONDS:-600} # a test that hangs is a test that failed
log=$(mktemp) || exit 1
trap 'rm -f "$log"' EXIT
for test in "$@"; do
    case $test in
    *.sh) timeout "$limit" sh "$test" >"$log" 2>&1 ;;
    *.py) timeout "$limit" "${PYTHON:-/usr/bin/python3}" "$test" >"$log" 2>&1 ;;
    /*) timeout "$limit" "$test" >"$log" 2>&1 ;;
    *) timeout "$limit" "./$test" >"$log" 2>&1 ;;
    esac
    code=$?
    line=$(grep -E '^[0-9]+ passed, [0-9]+ failed$' "$log" | tail -n 1)
    if [ "$code" -eq 77 ]; then
        skipped=$((skipped + 1))
        echo "SKIP  $test: $(tail -n 1 "$log")"
        continue
    fi
    p=${line%% *} f=${line#*, } f=${f%% *}
    passed=$((passed + ${p:-0})) failed=$((failed + ${f:-0}))
    if [ "$code" -ne 0 ] || [ -z "$line" ] || [ "${f:-0}" -ne 0 ]; then
        [ "${f:-0}" -eq 0 ] && failed=$((failed + 1))
        echo "FAIL  $test (exit $code)"
        sed 's/^/      /' "$log" | tail -n 60
    else
        echo "ok    $test: $line"
        sed -n 's/^TABLE /      /p' "$log"
    fi
done
if [ "$skipped" -gt 0 ]; then echo "$passed passed, $failed failed, $skipped skipped"; else echo "$passed passed, $failed failed"; fi
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
