#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What the library exports is what the headers declare and what exports.map lists: no more, no less, each under its version.
. "$(dirname "$0")/count.sh"
need nm
need readelf

map=lib/api/exports.map
abi=$(sed -n 's/^#define RG_ABI //p' include/recurrentgemma/version.h)
shared=$BUILD/librecurrentgemma.so.$abi
static=$BUILD/librecurrentgemma.a

# differ NAME LEFT RIGHT: sorted lists.
differ() {
    diff "$2" "$3" >"$folder/difference"
    check_empty "$1" "$folder/difference"
}

# "name version" for each global of the map; a version that inherits from another ends with its name.
awk '/^RG_[0-9.]+ *\{/ { version = $1 } /^global:/ { on = 1; next } /^local:/ { on = 0 } on && /;/ { sub(";", "", $1); print $1, version }' "$map" | sort >"$folder/map"
cut -d' ' -f1 "$folder/map" >"$folder/map_names"
[ -s "$folder/map" ] || failed "the map lists symbols"

sort -u "$folder/map_names" | diff - "$folder/map_names" >"$folder/twice"
check_empty "no symbol stands in the map twice" "$folder/twice"
grep -n '[*?[]' "$map" | grep -vE '^[0-9]+:(    \*;| \*|/\*)' >"$folder/wildcards"
check_empty "the map has no wildcard but the one that hides the rest" "$folder/wildcards"

nm -D --defined-only "$shared" | awk '$2 != "A" { print $3 }' | sed 's/@@*/ /' | sort >"$folder/exported"
differ "the shared library exports what the map lists, under the version it lists it" "$folder/map" "$folder/exported"

# The compiler expands RG_API; the first name before a bracket is the function's.
"$CC" -E -P -Iinclude -include recurrentgemma/experimental.h include/recurrentgemma.h | tr '\n' ' ' | sed 's/;/;\n/g' | grep 'visibility("default")' | sed 's/.*visibility("default")))//' |
    grep -oE '^[^(]*\(' | grep -oE 'rg_[a-z0-9_]+ *\($' | tr -d ' (' | sort >"$folder/declared"
differ "the headers declare what the map lists" "$folder/map_names" "$folder/declared"

nm -A -g --defined-only "$static" 2>/dev/null | grep -v ' __odr_asan' | awk '{ n = split($1, part, ":"); print part[n - 1], $NF }' >"$folder/static"
[ -s "$folder/static" ] || failed "the static library defines symbols"
grep -vE ' rgi?_[a-z0-9_]+$' "$folder/static" >"$folder/strangers"
check_empty "every global symbol of the static library begins with rg_ or rgi_" "$folder/strangers"
sed -nE 's/.* (rg_.*)/\1/p' "$folder/static" | sort >"$folder/static_public"
differ "the static library has the same rg_ functions" "$folder/map_names" "$folder/static_public"
grep ' rg_' "$folder/static" | grep -v '^api_' >"$folder/elsewhere"
check_empty "rg_ functions are defined in lib/api alone" "$folder/elsewhere"

readelf -dW "$shared" >"$folder/dynamic"
check "the soname carries RG_ABI" grep -F "Library soname: [librecurrentgemma.so.$abi]" "$folder/dynamic"
finish
