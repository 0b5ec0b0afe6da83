# SPDX-License-Identifier: Apache-2.0
# What the scripts of this folder share: they source it first. Checks are counted; the last line is "N passed, N failed".
cd "$(dirname "$0")/../.." || exit 1
BUILD=${BUILD:-build}
CC=${CC:-cc}
CXX=${CXX:-c++}
n_passed=0 n_failed=0
folder=$(mktemp -d) || exit 1
trap 'rm -rf "$folder"' EXIT

passed() { n_passed=$((n_passed + 1)); }

# failed NAME [FILE]: FILE holds what there is to say about it.
failed() {
    n_failed=$((n_failed + 1))
    echo "FAILED $1"
    [ -z "${2:-}" ] || tail -n 20 "$2" | cut -c1-300 | sed 's/^/    /'
}

# check_empty NAME FILE: the file lists what is wrong.
check_empty() { if [ -s "$2" ]; then failed "$1" "$2"; else passed; fi; }

# check NAME COMMAND...: the command says by its exit code whether it is so, and by its output why not.
check() {
    name=$1
    shift
    if "$@" >"$folder/said" 2>&1; then passed; else failed "$name" "$folder/said"; fi
}

skip() {
    echo "skipped: $1"
    exit 77
}

need() { command -v "$1" >/dev/null 2>&1 || skip "$1 is not installed"; }

# A sanitizer adds symbols, sections and printing of its own.
is_sanitized() { nm -D --undefined-only "$1" | grep -Eq ' __(asan|ubsan|tsan|msan)_'; }

finish() {
    echo "$n_passed passed, $n_failed failed"
    [ "$n_failed" -eq 0 ]
    exit
}
