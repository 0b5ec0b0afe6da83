# SPDX-License-Identifier: Apache-2.0
# For shell tests of the command: `run` it, then `check` what came of it.
rg=${BUILD:-build}/recurrentgemma
golden=tests/data/golden
[ -x "$rg" ] || { echo "$rg is not built"; exit 1; }
passed=0 failed=0
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT

# Runs the command; leaves $code, $out and $err, and the files $dir/out and $dir/err.
run() {
    "$rg" "$@" >"$dir/out" 2>"$dir/err" </dev/null
    took $?
}

# The same for a pipeline that wrote those files.
took() {
    code=$1
    out=$(cat "$dir/out") err=$(cat "$dir/err")
}

# check "a sentence that shall be true" CONDITION...
check() {
    sentence=$1
    shift
    if "$@"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAILED $sentence: $*"
        echo "code $code"
        head -c 500 "$dir/out"
        head -c 500 "$dir/err"
    fi
}

has() { case $1 in *"$2"*) return 0 ;; *) return 1 ;; esac }
lacks() { ! has "$1" "$2"; }
is() { [ "$1" = "$2" ]; }
lines() { [ "$(printf '%s\n' "$1" | wc -l)" -eq "$2" ]; }

finish() {
    echo "$passed passed, $failed failed"
    [ "$failed" -eq 0 ]
    exit
}
