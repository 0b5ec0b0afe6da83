# SPDX-License-Identifier: Apache-2.0
# Arguments, help and exit codes, the same for all verbs.
. tests/command/harness.sh
verbs="generate chat score logits tokenize detokenize inspect bench synth"
model=$golden/griffin-rra

run --version
check "--version tells the version" has "$out" "recurrentgemma 0."
check "--version succeeds" is $code 0

run --help
check "--help succeeds" is $code 0
check "--help fits in 80 columns" is "$(awk 'length($0) > 80' "$dir/out")" ""
for verb in $verbs; do check "--help names $verb" has "$out" "  $verb "; done

for verb in $verbs; do
    run $verb --help
    check "$verb --help succeeds" is $code 0
    check "$verb --help says how" has "$out" "Usage: recurrentgemma $verb "
    for option in backend compute cpu-mask layout threads window page-length map no-map help; do check "$verb --help tells of --$option" has "$out" "--$option"; done
    widest=$(awk '{ if (length($0) > n) n = length($0) } END { print n }' "$dir/out")
    check "$verb --help fits in 80 columns" [ "$widest" -le 80 ]
    first=$out
    run help $verb
    check "help $verb is the same" is "$out" "$first"

    run $verb
    check "$verb without operand is a usage error" is $code 2
    check "$verb without operand is one sentence and a hint" lines "$err" 2
    run $verb x --no-such-option
    check "$verb refuses unknown options" is $code 2
    check "$verb names the unknown option" has "$err" "recurrentgemma $verb: unknown option --no-such-option"
    check "$verb tells where help is" has "$err" "Try 'recurrentgemma $verb --help'."
    check "$verb prints nothing on stdout then" is "$out" ""
done

run
check "no verb is a usage error" is $code 2
run generat
check "an unknown verb is a usage error" is $code 2
check "an unknown verb gives a hint" has "$err" "did you mean generate?"
run --frobnicate
check "an unknown option without verb is a usage error" is $code 2
run help nothing
check "help of an unknown verb is a usage error" is $code 2
run inspect --tread 2 "$model"
check "an option that is spelt wrong gives a hint" has "$err" "did you mean --threads?"
run inspect --json=yes "$model"
check "a flag takes no value" is $code 2
run inspect "$model" --threads
check "an option needs its value" is $code 2
run inspect "$model" another
check "one argument too many is a usage error" is $code 2
run inspect -- --json
check "after -- an argument is no option" is $code 1

for n in -1 0 1025 1e9 2x '' ' 2' +2 0x2 99999999999999999999999; do
    run inspect "$model" -t "$n"
    check "-t '$n' is a usage error" is $code 2
    run inspect "$model" --threads="$n"
    check "--threads='$n' is a usage error" is $code 2
done
for x in nan inf -1 101 0x1 '' 1,5 1e999; do
    run generate "$model" -p a --temp "$x"
    check "--temp '$x' is a usage error" is $code 2
done
run inspect "$model" --window sideways
check "--window takes its two words only" is $code 2
run generate "$model" -p a --top-p 0
check "--top-p 0 is a usage error" is $code 2
run generate "$model"
check "generate needs a prompt" is $code 2
run generate "$model" -p a -f b
check "generate takes one prompt" is $code 2
run score "$model"
check "score needs a file" is $code 2
run logits "$model" --tokens 1
check "logits needs --out" is $code 2
run logits "$model" --tokens 1,2 --last 3 --out "$dir/x"
check "--last is at most the number of tokens" is $code 2
run synth "$dir/x"
check "synth needs a shape" is $code 2
run synth "$dir/x" --config 3b
check "synth refuses unknown presets" is $code 2
run synth "$dir/x" --config tiny --shard-size 5X
check "synth refuses bad sizes" is $code 2
check "synth made nothing then" [ ! -e "$dir/x" ]

run inspect "$dir/none"
check "a model that is not there is a failure" is $code 1
check "a failure is one sentence" lines "$err" 1
check "the sentence names what is missing" has "$err" "$dir/none"
run inspect nobody/nothing
check "a hub id that is not there is a failure" is $code 1
run inspect "$model" --backend nonsense
check "an unknown backend is a failure" is $code 1
run generate "$model" -p a
check "text needs a tokenizer" is $code 1
check "the sentence says so" has "$err" "tokenizer"
run score "$model" -f "$dir/none"
check "a text that is not there is a failure" is $code 1
: >"$dir/empty"
run score "$model" -f "$dir/empty"
check "an empty text is a failure" is $code 1
run inspect "$(printf 'a\033[31m\nb')"
check "arguments in sentences are harmless" has "$err" '\x1b[31m\x0ab'
check "and stay on one line" lines "$err" 1

# The hub cache, as Hugging Face's tools lay it out.
cache=$dir/hub/models--some--model
mkdir -p "$cache/refs" "$cache/snapshots" && ln -s "$(pwd)/$model" "$cache/snapshots/abc" && printf abc >"$cache/refs/main"
mkdir -p "$dir/home/.cache/huggingface" && ln -s "$dir/hub" "$dir/home/.cache/huggingface/hub"
inspect_hub() { env -u HF_HUB_CACHE -u HF_HOME -u XDG_CACHE_HOME "$@" "$rg" inspect some/model >"$dir/out" 2>"$dir/err"; took $?; }
inspect_hub HF_HUB_CACHE="$dir/hub"
check "HF_HUB_CACHE is looked into" is $code 0
inspect_hub HF_HOME="$dir"
check "HF_HOME/hub is looked into" is $code 0
inspect_hub HOME="$dir/home"
check "~/.cache/huggingface/hub is looked into" is $code 0
inspect_hub HF_HUB_CACHE="$dir/none" HF_HOME="$dir"
check "HF_HUB_CACHE goes first" is $code 1
inspect_hub HOME=
check "without any of them the id is not found" is $code 1

# Standard output that cannot be written.
for verb in "--help" "--version" "inspect $model" "inspect $model --json --tensors"; do
    "$rg" $verb >/dev/full 2>"$dir/err"
    took $?
    check "a full disk is a failure of $verb" is $code 1
    check "a full disk gives one sentence" lines "$err" 1
    "$rg" $verb >&- 2>"$dir/err"
    took $?
    check "a closed stdout is a failure of $verb" is $code 1
    check "a closed stdout gives one sentence" has "$err" "cannot write to standard output"
done
"$rg" logits $model --tokens 2,3 --out "$dir/closed.safetensors" >&- 2>&- <&-
check "a closed stdout never becomes the file that is written" is $? 0
"$rg" logits $model --tokens 2,3 --out "$dir/open.safetensors"
check "and the file is the same" cmp "$dir/closed.safetensors" "$dir/open.safetensors"
finish
