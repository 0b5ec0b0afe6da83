# SPDX-License-Identifier: Apache-2.0
# The verbs that read and write text, on the demo model: generate, chat, score, tokenize, detokenize.
. tests/command/harness.sh
run inspect demo
if has "$err" "no demo model"; then echo "skipped: the demo model is not built in"; exit 77; fi
prompt="It is a truth"

# generate
run generate demo -p "$prompt" -n 20
greedy=$out
check "generate succeeds" is $code 0
check "generate writes something" [ -n "$greedy" ]
check "generate writes nothing on stderr" is "$err" ""
run generate demo -p "$prompt" -n 20 --threads 1
check "threads change nothing" is "$out" "$greedy"
run generate demo --prompt="$prompt" -n20 --seed 5 --top-k 3
check "without --temp the seed changes nothing" is "$out" "$greedy"
printf '%s' "$prompt" >"$dir/prompt"
run generate demo -f "$dir/prompt" -n 20
check "a prompt from a file is the same" is "$out" "$greedy"
"$rg" generate demo -f - -n 20 <"$dir/prompt" >"$dir/out" 2>"$dir/err"
took $?
check "a prompt from standard input is the same" is "$out" "$greedy"
run generate demo -p "$prompt" -n 20 --echo
check "--echo writes the prompt first" is "$out" "$prompt$greedy"
run generate demo -p "$prompt" -n 0
check "-n 0 writes nothing" is "$code$out" 0
run generate demo -p "" -n 5
check "an empty prompt is fine" is $code 0
run generate demo -p "$(printf 'bad \377\376 bytes \302')" -n 5
check "a prompt that is not UTF-8 is fine" is $code 0
printf 'a\0b' >"$dir/nul"
run generate demo -f "$dir/nul" -n 5 --json
check "a prompt with a NUL is fine" is $code 0

run generate demo -p "$prompt" -n 20 --temp 0.9 --seed 1
sampled=$out
run generate demo -p "$prompt" -n 20 --temp 0.9 --seed 1
check "the same seed writes the same" is "$out" "$sampled"
run generate demo -p "$prompt" -n 20 --temp 0.9 --seed 2
check "another seed writes something else" [ "$out" != "$sampled" ]
run generate demo -p "$prompt" -n 20 --temp 0.9 --top-k 1
check "--top-k 1 is greedy" is "$out" "$greedy"
run generate demo -p "$prompt" -n 20 --temp 0.9 --top-p 0.00001
check "a small --top-p is greedy" is "$out" "$greedy"
run generate demo -p "$prompt" -n 20 --temp 0.9 --min-p 1
check "--min-p 1 is greedy" is "$out" "$greedy"
run generate demo -p "$prompt" -n 20 --repetition-penalty 1.5
check "a repetition penalty changes the text" [ "$out" != "$greedy" ]

word=$(printf '%s' "$greedy" | tr -s ' ' '\n' | sed -n 4p)
run generate demo -p "$prompt" -n 20 --stop "$word" --stop "not in there"
check "--stop ends the text before the word" is "$out" "${greedy%%"$word"*}"
run generate demo -p "$prompt" --stop ""
check "an empty --stop is a usage error" is $code 2
run generate demo -p "$prompt" --stop "$(printf '\377')"
check "a --stop that is not UTF-8 is a usage error" is $code 2

run generate demo -p "$prompt" -n 20 --json
check "--json tells the same text, and why it ended" has "$out" '"stop_reason": "length"'
cat >"$dir/keys.py" <<'END'
import json, sys
piece = json.load(open(sys.argv[1]))
assert list(piece) == ["text", "tokens", "logprobs", "stop_reason", "prompt_tokens", "prefill_tokens_per_second", "decode_tokens_per_second"], list(piece)
assert piece["text"] == sys.argv[2], piece["text"]
assert len(piece["tokens"]) == len(piece["logprobs"]) == 20
assert all(p <= 0 for p in piece["logprobs"])
assert piece["prompt_tokens"] == int(sys.argv[3])
assert piece["prefill_tokens_per_second"] > 0 and piece["decode_tokens_per_second"] > 0
END
n=$("$rg" tokenize demo <"$dir/prompt" | wc -w)
cp "$dir/out" "$dir/piece.json"
check "--json is JSON with the keys that were promised" /usr/bin/python3 "$dir/keys.py" "$dir/piece.json" "$greedy" "$n"
run generate demo -p "$prompt" -n 20 --stop "$word" --json
check "--json tells of a stop string" has "$out" '"stop_reason": "string"'
LC_ALL=de_DE.UTF-8 "$rg" generate demo -p "$prompt" -n 2 --json >"$dir/out" 2>"$dir/err"
took $?
check "numbers do not depend on the locale" /usr/bin/python3 -m json.tool "$dir/out" "$dir/valid"

"$rg" generate demo -p "$prompt" -n 20 >/dev/full 2>"$dir/err"
took $?
check "a full disk is a failure" is $code 1
check "a full disk is one sentence" lines "$err" 1
{ "$rg" generate demo -p "$prompt" -n 100000 --ignore-eos 2>"$dir/err"; echo $? >"$dir/code"; } | head -c 20 >"$dir/out"
took "$(cat "$dir/code")"
check "a reader that leaves ends the program" is $code 1
check "a broken pipe is one sentence" lines "$err" 1

# tokenize and detokenize
tokenizer=tests/data/tokenizer
[ -f $tokenizer/tokenizer.model ] || tokenizer=examples/demo/model
printf 'It was the best of times,\n  it was  the worst\t \303\251\360\237\231\202 of times.\n\n' >"$dir/text"
for model in demo $tokenizer/tokenizer.model $tokenizer; do
    "$rg" tokenize $model <"$dir/text" >"$dir/ids" 2>"$dir/err"
    check "tokenize $model succeeds" is $? 0
    check "ids stand on one line" is "$(wc -l <"$dir/ids")" 1
    "$rg" detokenize $model <"$dir/ids" >"$dir/back"
    check "detokenize $model gives every byte back" cmp "$dir/text" "$dir/back"
    "$rg" tokenize $model --no-bos <"$dir/text" >"$dir/bare"
    check "--no-bos leaves out the first id only" is "2 $(cat "$dir/bare")" "$(cat "$dir/ids")"
    tr ' ' ',' <"$dir/ids" | "$rg" detokenize $model >"$dir/back"
    check "commas separate ids too" cmp "$dir/text" "$dir/back"
done
printf '\377' | "$rg" tokenize demo >"$dir/out" 2>"$dir/err"
check "a bad byte is fine" is $? 0
printf 'ab\377' | "$rg" tokenize demo --strict >"$dir/out" 2>"$dir/err"
took $?
check "a bad byte is a failure with --strict" is $code 1
check "and that is one sentence" lines "$err" 1
run tokenize demo
check "no text is bos alone" is "$out" 2
run tokenize demo --no-bos
check "and without it an empty line" is "$(wc -c <"$dir/out")" 1
run detokenize demo
check "no ids are no text" is "$code$out" 0
for ids in "1 x" "999999" "-1" "2147483648"; do
    printf '%s' "$ids" | "$rg" detokenize demo >"$dir/out" 2>"$dir/err"
    took $?
    check "detokenize refuses '$ids'" is $code 1
    check "detokenize refuses '$ids' in one sentence" lines "$err" 1
done
printf 'a<start_of_turn>b' | "$rg" tokenize demo --no-bos >"$dir/out"
check "text may spell a turn token here" has " $(cat "$dir/out") " " 11 "

# chat
say() { printf "$1" | "$rg" chat demo -n 8 >"$dir/out" 2>"$dir/err"; took $?; }
say 'Hello\n'
hello=$out
check "chat succeeds" is $code 0
check "a reply is a line" [ "$(wc -l <"$dir/out")" -ge 1 ]
check "there is no prompt in a pipe" lacks "$out" "> "
say 'Hello\n\n  \nHello\n'
check "empty lines are not messages" is $code 0
say 'Hello\n/reset\nHello\n'
check "/reset starts anew" is "$out" "$hello
$hello"
say 'Hello\n/quit\nHello\n'
check "/quit leaves" is "$out" "$hello"
say '/help\n'
check "/help names the commands" has "$out" "/reset"
for command in save fork undo retry rewind quit help; do check "/help names /$command" has "$out" "/$command "; done
say '/nothing\nHello\n'
check "an unknown command is told" has "$err" "/nothing is not known"
check "and the chat goes on" is "$out" "$hello"
say 'One\\\nline\n'
check "a backslash joins lines" is $code 0
joined=$out
say 'One\\\nline'
check "the last line needs no end" is "$out" "$joined"
say ''
check "an empty file is an empty chat" is "$code$out" 0
printf 'a\0b\n' | "$rg" chat demo >"$dir/out" 2>"$dir/err"
took $?
check "a NUL in a message is a failure" is $code 1
printf 'Hello\n' | "$rg" chat demo -n 8 >/dev/full 2>"$dir/err"
took $?
check "chat on a full disk is a failure" is $code 1
check "chat on a full disk is one sentence" lines "$err" 1
finish
