#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Each public header compiles alone, in any order and twice, in every C and C++ dialect, without a warning.
. "$(dirname "$0")/count.sh"

headers=$(cd include && ls recurrentgemma.h recurrentgemma/*.h)
reversed=$(printf '%s\n' $headers | sort -r)
warnings="-Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wcast-align -Wundef -Werror"

# include_all HEADER...: a translation unit that includes them in this order.
include_all() {
    printf '#include <%s>\n' "$@"
    echo 'typedef int not_an_empty_unit;'
}

for header in $headers; do include_all "$header" >"$folder/$(basename "$header" .h)_alone"; done
include_all $reversed >"$folder/in_reverse"
include_all $headers $headers >"$folder/twice"
# The macros too, which only their use compiles.
{
    include_all recurrentgemma.h
    cat <<'C'
static rg_status multiply(void *self, const rg_matmul_args *args)
{
    (void)self;
    return RG_TENSOR_DATA(args->y) ? RG_OK : RG_ERR_BACKEND;
}
static rg_backend_ops table;
RG_BACKEND_EXPORT(table)
int use_macros(void);
int use_macros(void)
{
    rg_error error = RG_ERROR_INIT;
    table.struct_size = sizeof table;
    table.matmul = multiply;
    return RG_HAS(&table, matmul) && error.offset == RG_NO_OFFSET;
}
C
} >"$folder/macros"

# compile COMPILER LANGUAGE STANDARD MORE: every unit.
compile() {
    case $1 in *clang*) documentation="-Wdocumentation -Wdocumentation-unknown-command" ;; *) documentation= ;; esac
    for unit in "$folder"/*_alone "$folder/in_reverse" "$folder/twice" "$folder/macros"; do
        check "$(basename "$unit"), $1 -std=$3" "$1" -x "$2" -std="$3" -fsyntax-only $warnings $documentation $4 -Iinclude "$unit"
    done
}

# Both compilers where both are there, and the one the build uses.
has() { command -v "${1%% *}" >/dev/null 2>&1; }
for compiler in $(printf '%s\n' gcc clang "${CC%% *}" | sort -u); do
    has "$compiler" || continue
    [ "$compiler" = cc ] && { has gcc || has clang; } && continue
    for standard in c99 c11 c17 c2x; do compile "$compiler" c "$standard" "-Wstrict-prototypes -Wmissing-prototypes"; done
    compilers="${compilers:-} $compiler"
done
for compiler in $(printf '%s\n' g++ clang++ "${CXX%% *}" | sort -u); do
    has "$compiler" || continue
    [ "$compiler" = c++ ] && { has g++ || has clang++; } && continue
    for standard in c++11 c++14 c++17 c++20; do compile "$compiler" c++ "$standard" ""; done
    compilers="${compilers:-} $compiler"
done
echo "TABLE compilers:${compilers:-}"
[ -n "${compilers:-}" ] || skip "there is no compiler"
finish
