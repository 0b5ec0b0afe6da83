#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The tree keeps its shape: who may include whom, file names that are unique, files that are not too long, no unfinished marks.
. "$(dirname "$0")/count.sh"

# allowed ROOM: the rooms of lib/ whose headers it may include, beside its own and <recurrentgemma/...>.
allowed() {
    case $1 in
    api) echo convert generate forward sampler tokenizer state model backend io base ;;
    convert) echo model quantize tokenizer backend io base ;;
    generate) echo forward sampler tokenizer state model base ;;
    forward) echo state model backend base ;;
    state) echo model backend io base ;;
    model) echo io backend tokenizer base ;;
    tokenizer) echo io base ;;
    sampler | io | backend | quantize) echo base ;;
    base) echo ;;
    *) return 1 ;;
    esac
}

sources=$(find lib -name '*.c' -o -name '*.h' | sort)
: >"$folder/arrows"
: >"$folder/inside"
: >"$folder/rooms"
for file in $sources; do
    room=${file#lib/} room=${room%%/*}
    may=$(allowed "$room") || echo "$file: lib/$room is not a room that this test knows" >>"$folder/rooms"
    sed -nE 's/^[ \t]*#[ \t]*include[ \t]*"([^"]*)".*/\1/p' "$file" >"$folder/quoted"
    while read -r name; do
        target=${name%%/*}
        [ -f "lib/$name" ] || echo "$file: \"$name\" is not a file of lib/" >>"$folder/arrows"
        case " $room $may " in
        *" $target "*) ;;
        *) echo "$file: $room may not include \"$name\"" >>"$folder/arrows" ;;
        esac
        # backend/backend.h is the room's door.
        case $target:$room:$name in
        backend:backend:* | backend:*:backend/backend.h) ;;
        backend:*) echo "$file: \"$name\" is inside of backend; its door is backend/backend.h" >>"$folder/inside" ;;
        esac
    done <"$folder/quoted"
done
check_empty "every folder of lib/ is a room with known arrows" "$folder/rooms"
check_empty "lib/ has no arrow but the allowed ones" "$folder/arrows"
check_empty "nobody reaches into backend/ but for its door" "$folder/inside"

# The program, the examples and the bindings are hosts like any other: the public headers, their own files, the system's.
outside=$(find src examples bindings -name '*.c' -o -name '*.h' -o -name '*.cpp' -o -name '*.hpp' 2>/dev/null | sort)
: >"$folder/outside"
for file in $outside; do
    sed -nE 's/^[ \t]*#[ \t]*include[ \t]*"([^"]*)".*/\1/p' "$file" | while read -r name; do
        [ -f "$(dirname "$file")/$name" ] || echo "$file: \"$name\" is neither public nor beside it" >>"$folder/outside"
    done
done
check_empty "src, examples and bindings include the public headers alone" "$folder/outside"
grep -nE '^[ \t]*#[ \t]*include[ \t]*"(\.\./)*(\.\.|lib|src|tests|examples)/' $sources $outside >"$folder/upward"
check_empty "no include climbs out of its folder" "$folder/upward"

# A line of a backtrace then needs no path. A public header may be called like the room's own: no code stands in it.
printf '%s\n' $sources $outside | sed 's,.*/,,' | sort | uniq -d >"$folder/same"
check_empty "file names are unique in lib, src, examples and bindings" "$folder/same"
find include -name '*.h' | sed 's,.*/,,' | sort | uniq -d >"$folder/same"
check_empty "file names are unique in include" "$folder/same"

wc -l $sources $outside $(find include -name '*.h') | awk '$2 != "total" && $1 > 600' >"$folder/long"
check_empty "no source file is longer than 600 lines" "$folder/long"

tagged=$(find lib src include examples bindings pkgconfig tests Makefile -path tests/data -prune -o -type f \( -name '*.[chS]' -o -name '*.[ch]pp' -o -name '*.py' -o \
    -name '*.sh' -o -name '*.map' -o -name '*.in' -o -name Makefile \) -print 2>/dev/null)
for file in $tagged; do head -n 3 "$file" | grep -q 'SPDX-License-Identifier: Apache-2.0' || echo "$file"; done >"$folder/untagged"
check_empty "every source file names its licence" "$folder/untagged"

grep -rnwE 'TODO|FIXME|XXX' lib src include bindings 2>/dev/null >"$folder/marks"
check_empty "no unfinished marks" "$folder/marks"
finish
