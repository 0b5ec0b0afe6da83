#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Cross builds for aarch64 and runs the tests under user-mode emulation, on two processors: "max", which has BF16, and a Cortex-A72, which has not
# and must choose the rung "neon". Works in AARCH64 (default: build/large/aarch64); Debian's compiler and emulator are installed when missing, the
# libraries are only unpacked there, so the system gets no foreign packages.
cd "$(dirname "$0")/../.." || exit 1
work=${AARCH64:-${LARGE:-${BUILD:-build}/large}/aarch64}
mkdir -p "$work" && work=$(cd "$work" && pwd) || exit 1
drawn=${AARCH64_DRAWN:-30} # combinations of exact_test for each rung

skip() { echo "skipped: $1"; exit 77; }

command -v dpkg-query >/dev/null 2>&1 || skip "not a Debian system"
missing=
for package in gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user; do
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing="$missing $package"
done
if [ -n "$missing" ]; then
    as_root=
    [ "$(id -u)" -eq 0 ] || { command -v sudo >/dev/null 2>&1 && as_root=sudo || skip "missing packages, and neither root nor sudo to install them:$missing"; }
    echo "Installing Debian packages:$missing"
    { $as_root apt-get update -q && $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing; } || exit 1
fi

# The libraries that we link with, from a package index of its own.
if [ ! -e "$work/root/usr/lib/aarch64-linux-gnu/libyaml.so" ]; then
    mkdir -p "$work/apt/lists/partial" "$work/apt/cache/archives/partial" "$work/root"
    : >"$work/apt/status"
    apt() {
        apt-get -q -o Dir::State="$work/apt" -o Dir::State::status="$work/apt/status" -o Dir::State::Lists="$work/apt/lists" -o Dir::Cache="$work/apt/cache" \
            -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o APT::Sandbox::User="$(id -un)" "$@"
    }
    apt update || exit 1
    (cd "$work/apt" && apt download libxxhash-dev libxxhash0 libsqlite3-dev libsqlite3-0 libyaml-dev libyaml-0-2) || exit 1
    for package in "$work"/apt/*.deb; do dpkg -x "$package" "$work/root" || exit 1; done
fi
usr=$work/root/usr libraries=$work/root/usr/lib/aarch64-linux-gnu

build() { # build FOLDER OPTIONS...
    folder=$1
    shift
    make -s -j2 BUILD="$folder" CC=aarch64-linux-gnu-gcc WITH_BLIS=0 WITH_EDIT=0 CPPFLAGS="-I$usr/include" LDFLAGS="-L$libraries -Wl,-rpath,$libraries" "$@" >"$work/log" 2>&1 &&
        ! grep 'warning:' "$work/log" || { tail -n 40 "$work/log"; echo "0 passed, 1 failed"; exit 1; }
}
build "$work/build" all tests
build "$work/plain" WITH_SQLITE=0 all

# An emulated program is a script, $work/PROCESSOR/NAME, so that it runs like any other; EXACT_PROGRAM is what exact_test starts new processes with.
emulate() { # emulate PROCESSOR NAME PROGRAM ARGUMENTS...
    script=$work/$1/$2
    mkdir -p "$work/$1"
    printf '#!/bin/sh\nexport EXACT_PROGRAM=%s\nexec qemu-aarch64 -cpu %s -L /usr/aarch64-linux-gnu ' "$work/$1/exact_program" "$1" >"$script"
    shift 2
    printf '%s "$@"\n' "$*" >>"$script"
    chmod +x "$script"
}
rung_of() { # rung_of PROCESSOR FOLDER: the rung that this build chooses
    emulate "$1" command "$2/recurrentgemma"
    "$work/$1/command" inspect demo | sed -n 's/^kernels  *cpu \([a-z0-9-]*\).*/\1/p'
}

own_passed=0 own_failed=0
equal() { # equal WHAT ACTUAL EXPECTED
    if [ "$2" = "$3" ]; then own_passed=$((own_passed + 1)); else own_failed=$((own_failed + 1)) && echo "$1 is '$2', expected '$3'"; fi
}

# What does not depend on the processor's kind must have the bits of this machine's build, where there is one.
hashes() { sed -n 's/^TABLE hashes, //p'; }
native=${BUILD:-build}/tests/model/exact_test

tests=
for processor in max cortex-a72; do
    case $processor in
    max) rungs="neon-bf16 neon portable" ;;
    *) rungs="neon" ;;
    esac
    equal "the rung on $processor" "$(rung_of "$processor" "$work/build")" "${rungs%% *}"
    equal "the rung on $processor, without SQLite" "$(rung_of "$processor" "$work/plain")" "${rungs%% *}"
    emulate "$processor" exact_program "$work/build/tests/model/exact_test"
    folders="kernel fail/fpenv model/golden"
    [ "$processor" = max ] || folders="$folders model/demo unit" # BF16 is slow to emulate, and no matter to these
    for folder in $folders; do
        for test in "$work"/build/tests/"$folder"*_test "$work"/build/tests/"$folder"/*_test; do
            [ -x "$test" ] && emulate "$processor" "${test##*/}" "$test" && tests="$tests $script"
        done
    done
    for rung in $rungs; do
        emulate "$processor" "exact_test-$rung" "$work/build/tests/model/exact_test" --drawn "$drawn" --backend "cpu:$rung"
        tests="$tests $script"
    done
done
TEST_SECONDS=${TEST_SECONDS:-7200} sh tests/run.sh $tests >"$work/log"
sed -n '/^FAIL/p; /^SKIP/p; /^      /p' "$work/log"
summary=$(tail -n 1 "$work/log")
passed=${summary%% *} failed=${summary#*, } failed=${failed%% *}

if [ -x "$native" ]; then
    for kernels in reference cpu:portable; do
        here=$("$native" --drawn 12 --backend "$kernels" | hashes)
        there=$("$work/max/exact_program" --drawn 12 --backend "$kernels" | hashes)
        equal "hashes of $kernels" "$there" "$here"
    done
fi
echo "TABLE on emulated processors: $summary; on this machine and there: $own_passed of $((own_passed + own_failed)) alike"
echo "$((passed + own_passed)) passed, $((failed + own_failed)) failed"
[ "$((failed + own_failed))" -eq 0 ] && [ "${passed:-0}" -gt 0 ]
