#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Every program of examples/ does what its first lines say, and so does the C program of README.md.
. "$(dirname "$0")/../abi/count.sh"

case $BUILD in /*) built=$BUILD ;; *) built=$PWD/$BUILD ;; esac
library=$built/librecurrentgemma.so
golden=tests/data/golden/griffin-rra
sanitizer=
is_sanitized "$library" && sanitizer="-fsanitize=address,undefined"
has_demo=0
[ -f "$built/demo.rgm" ] && has_demo=1

# runs NAME PROGRAM ARGUMENTS...: exits with 0. What it printed is in "$folder/out".
runs() {
    name=$1 program=$built/examples/$2
    shift 2
    "$program" "$@" >"$folder/out" 2>"$folder/err"
    code=$?
    if [ "$code" -eq 0 ]; then passed; else
        { echo "exit $code"; cat "$folder/err" "$folder/out"; } >"$folder/said"
        failed "$name" "$folder/said"
    fi
}

# prints NAME PATTERN: a line of what the last program printed matches.
prints() { if grep -Eq "$2" "$folder/out"; then passed; else failed "$1" "$folder/out"; fi; }

for source in examples/*.c; do
    program=$(basename "$source" .c)
    [ "$program" = custom_backend ] && program=custom_backend.so
    check "$source is built" test -s "$built/examples/$program"
    check "$source is run by this test" grep -Eq "(runs .* ${program%.so}( |\$)|examples/$program)" "$0"
done

# The golden models need no tokenizer: their continuation is DeepMind's own.
ids='2 45 43 255 161 190 193'
continuation='236 89 309 189 52 85 52 85 52 85 52 85 52 85 52 85 52 85 52 85 52 85 52 85 52 85 52 85 52 85 52 85 52 85 52 85 52 85 52 85'
runs "greedy runs with token ids" greedy "$golden" 40 $ids
prints "greedy picks what DeepMind's code picks" "^$continuation\$"

plugin=$built/examples/custom_backend.so
for model in "$golden" tests/data/golden/bf16-sharded tests/data/golden/lru-wide; do
    runs "the plugin agrees with the reference on $model" custom_backend_use "$plugin" "$model"
    prints "the plugin's kernels are the ones that ran" "^blocked "
done
"$built/examples/custom_backend_use" custom_backend.so "$golden" >"$folder/out" 2>&1
check "a plugin without an absolute path is refused" test $? -eq 1

runs "patient gets the same bits" patient "$golden"
prints "patient is refused memory and leaves nothing behind" '^with 64 KiB: RG_ERR_MEMORY, and 0 bytes are left behind$'
prints "patient meets its budget" '^at token [0-9]+: the budget of [0-9]+ is spent'
prints "patient gives all memory back" '^the same bits .* and 0 bytes are left behind$'

for program in greedy own_loop stream score many_states batch undo; do
    "$built/examples/$program" /no/such/model >"$folder/out" 2>"$folder/err"
    check "$program says what is wrong" test $? -eq 1 -a -s "$folder/err" -a ! -s "$folder/out"
done
"$built/examples/resume_chat" "$folder/x" Hello /no/such/model >"$folder/out" 2>"$folder/err"
check "resume_chat says what is wrong" test $? -eq 1 -a -s "$folder/err" -a ! -s "$folder/out" -a ! -e "$folder/x"
for program in ask_document keep_conversations; do
    "$built/examples/$program" "$folder/x" /no/such/model >"$folder/out" 2>"$folder/err"
    check "$program says what is wrong" test $? -eq 1 -a -s "$folder/err" -a ! -s "$folder/out" -a ! -e "$folder/x"
done

# readme_is EXAMPLE N: the Nth C program of README.md is examples/EXAMPLE.c, and compiles by itself to "$folder/readme_EXAMPLE".
readme_is() {
    awk -v wanted="$2" '/^```c$/ { n++; inside = n == wanted; next } /^```$/ { inside = 0 } inside' README.md >"$folder/readme_$1.c"
    check "README.md has a C program for $1" test -s "$folder/readme_$1.c"
    sed '/^\/\* SPDX/,/\*\/$/d' "examples/$1.c" >"$folder/$1.c"
    diff "$folder/readme_$1.c" "$folder/$1.c" >"$folder/difference"
    check_empty "examples/$1.c is that program" "$folder/difference"
    check "it compiles without a warning" "$CC" -std=c11 -Wall -Wextra -Wpedantic -Werror $sanitizer -Iinclude "$folder/readme_$1.c" \
        -L"$built" -lrecurrentgemma -Wl,-rpath,"$built" -o "$folder/readme_$1"
}
readme_is first_text 1
readme_is branches 2

if [ "$has_demo" -gt 0 ]; then
    "$folder/readme_first_text" >"$folder/out" 2>&1
    check "it runs" test $? -eq 0
    check "it writes a text" test "$(wc -w <"$folder/out")" -ge 50
    cp "$folder/out" "$folder/text"
    runs "first_text runs" first_text
    check "and writes the same" cmp "$folder/out" "$folder/text"
    runs "greedy runs" greedy
    prints "greedy goes on from its sentence" '^It is a truth universally acknowledged, that .+'
    runs "own_loop runs" own_loop demo "It was a dark"
    prints "own_loop goes on from a text" '^It was a dark.+'
    runs "stream runs" stream demo "The old house"
    prints "stream goes on from a text" '^The old house.+'
    prints "stream says why it ended" '^[0-9]+ tokens, [0-9.]+ nats each, ended by '
    runs "score runs" score
    prints "score finds the sentence no riddle" '^perplexity +[0-9]{1,2}\.[0-9]+$'
    runs "many_states runs" many_states
    check "many_states writes four texts" test "$(grep -c '^\[[0-9]* tokens, a state of [0-9]* KiB\]$' "$folder/out")" -eq 4
    cp "$folder/out" "$folder/text"
    runs "many_states runs again" many_states
    check "threads do not change a text" cmp "$folder/out" "$folder/text"
    runs "batch runs" batch
    prints "batch reads the weights less often than there are tokens" '^6 conversations, 2[0-9]+ tokens, [0-9]{2} reads of the weights$'
    mkdir "$folder/story"
    (cd "$folder/story" && "$folder/readme_branches" && "$folder/readme_branches") >"$folder/out" 2>&1
    check "branches runs, and goes on with what it has saved" test $? -eq 0
    check "it begins once, and branches each time" test "$(grep -c '^The captain' "$folder/out") $(grep -c '^In the morning' "$folder/out")" = "1 2"
    check "what it goes back to is the same in the next run" test "$(grep -E '^(In the morning|But his sister)' "$folder/out" | sort -u | wc -l)" -eq 2
    check "only the state is left behind" test "$(ls -A "$folder/story")" = story.rgs
    cp "$folder/out" "$folder/text"
    printf 'x' | dd of="$folder/story/story.rgs" bs=1 seek=5000 conv=notrunc 2>"$folder/err"
    cp "$folder/story/story.rgs" "$folder/before"
    (cd "$folder/story" && "$folder/readme_branches") >"$folder/out" 2>"$folder/err"
    check "branches does not go on from a damaged file" test $? -ne 0 -a ! -s "$folder/out"
    check "it says which file, and what is wrong" grep -q 'story\.rgs: .*damaged' "$folder/err"
    check "and leaves it as it was" cmp "$folder/story/story.rgs" "$folder/before"
    (cd "$folder/story" && rm story.rgs && "$built/examples/branches" && "$built/examples/branches") >"$folder/out" 2>&1
    check "branches as it is built writes the same" cmp "$folder/out" "$folder/text"
    runs "resume_chat begins" resume_chat "$folder/alice.rgs" "Good evening."
    prints "resume_chat begins with nothing" '^\[0 tokens were there, [0-9]+ are now\]$'
    there=$(sed -n 's/.* there, \([0-9]*\) are now.*/\1/p' "$folder/out")
    runs "resume_chat goes on in a new process" resume_chat "$folder/alice.rgs" "What is the news?"
    prints "resume_chat goes on from where it was" "^\[$there tokens were there, [0-9]+ are now\]\$"
    cp "$folder/alice.rgs" "$folder/before"
    "$built/examples/resume_chat" "$folder/alice.rgs" Hello "$golden" >"$folder/out" 2>"$folder/err"
    check "resume_chat refuses a state of another model" test $? -eq 1 -a -s "$folder/err" -a ! -s "$folder/out"
    check "and leaves it as it was" cmp "$folder/alice.rgs" "$folder/before"
    runs "ask_document reads its document" ask_document "$folder/document.rgs"
    prints "ask_document reads all of it once" '^the document: ([0-9]+) tokens, \1 of them read now$'
    prints "ask_document's document does not change under its forks" '^the first question again: the same answer$'
    cp "$folder/out" "$folder/text"
    runs "ask_document finds its document" ask_document "$folder/document.rgs"
    prints "ask_document reads nothing then" '^the document: [0-9]+ tokens, 0 of them read now$'
    sed 1d "$folder/text" >"$folder/before"
    sed 1d "$folder/out" >"$folder/after"
    check "ask_document's answers are the same from the mapped file" cmp "$folder/before" "$folder/after"
    runs "undo runs" undo
    prints "undo goes back to the same bits" '^from token [0-9]+ back to [0-9]+: the same bits$'
    awk '/tokens sent/ { n++; if ($4 + $6 != $1 || (n > 1 && n < 5 && $4 < sent)) bad = 1; sent = $1 } END { exit n != 5 || bad }' "$folder/out"
    check "undo reads what is new of a dialogue that is sent whole" test $? -eq 0
    if "$built/examples/keep_conversations" "$folder/store" >"$folder/out" 2>"$folder/err" || ! grep -q "no conversation store" "$folder/err"; then
        check "keep_conversations runs" test ! -s "$folder/err"
        prints "keep_conversations forks the document" '^carol +version 4, from 1, [0-9]+ tokens$'
        awk '/^together/ { if (3 * $2 < 2 * $9) good = 1 } END { exit !good }' "$folder/out"
        check "keep_conversations keeps what is common once" test $? -eq 0
    fi
    runs "the plugin agrees with the reference on the demo" custom_backend_use "$plugin"
    runs "patient opens a folder with a tokenizer" patient examples/demo/model
fi
finish
