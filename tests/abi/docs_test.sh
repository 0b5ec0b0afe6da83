#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Pages name only what is there: files, links, exported functions, and defaults that are those of the code.
. "$(dirname "$0")/count.sh"

pages=$(ls ./*.md docs/*.md examples/*.md examples/*/*.md bindings/*/*.md 2>/dev/null)
find . -path ./.git -prune -o -type f -print | sed 's,.*/,,' | sort -u >"$folder/files"

# By their last part. Names with capitals stand for any, <angles> for the system's, my_ and first.c for a reader's own.
for page in $pages; do sed 's/<[^>]*>//g' "$page" | grep -noE '[A-Za-z0-9_./*-]*[A-Za-z0-9_]\.(c|h|S|py|sh|map|pc\.in)\b' | sed "s,^,$page:,"; done |
    grep -vE ':[^:]*(/|\b)(my_|first\.c|[a-z_]*[A-Z]{2,})|\*' >"$folder/names"
while IFS=: read -r page line name; do
    grep -qxF "${name##*/}" "$folder/files" || echo "$page:$line: there is no $name"
done <"$folder/names" >"$folder/missing"
check_empty "every source file that a page names is there" "$folder/missing"

for page in $pages; do
    grep -oE '\]\([^)# ]+' "$page" | sed 's/^](//' | grep -vE '^(https?|mailto):' | while read -r link; do
        [ -e "$(dirname "$page")/$link" ] || echo "$page: $link"
    done
done >"$folder/missing"
check_empty "every link inside the tree leads somewhere" "$folder/missing"

grep -ohE '\brg_[a-z0-9_]+' include/recurrentgemma.h include/recurrentgemma/*.h | sort -u >"$folder/public"
grep -noE '`rg_[a-z0-9_]+' $pages | sed 's/`//' | grep -v '_$' | while IFS=: read -r page line name; do
    [ "$name" = rg_thing2 ] || grep -qxF "$name" "$folder/public" || echo "$page:$line: $name is not in the headers"
done >"$folder/missing"
check_empty "every rg_ name that a page uses is public" "$folder/missing"

sed -n '/typedef struct rg_limits/,/^}/s/^ *uint[0-9]*_t \([a-z_]*\);.*/\1/p' include/recurrentgemma/host.h | sort >"$folder/members"
sed -n 's/^| `\([a-z_]*\)` .*/\1/p' docs/limits.md | sort | diff "$folder/members" - >"$folder/missing"
check_empty "docs/limits.md lists every member of rg_limits" "$folder/missing"
finish
