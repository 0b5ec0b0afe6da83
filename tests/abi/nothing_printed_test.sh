#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Whatever is wrong with a model, the library writes nothing to the host's output: a program opens bad ones with both streams captured,
# and again with both closed.
. "$(dirname "$0")/count.sh"

abi=$(sed -n 's/^#define RG_ABI //p' include/recurrentgemma/version.h)
shared=$BUILD/librecurrentgemma.so.$abi
is_sanitized "$shared" && skip "programs built without a sanitizer cannot load a library built with one"
golden=$PWD/tests/data/golden/griffin-rra
vocabulary=$(find tests/data/tokenizer -name tokenizer.model | head -n 1)

if ! "$CC" -std=c11 -Wall -Wextra -Werror -Iinclude tests/abi/open_hostile.c "$shared" -o "$folder/open_hostile" >"$folder/said" 2>&1; then
    failed "open_hostile.c compiles" "$folder/said"
    finish
fi
LD_LIBRARY_PATH="$(dirname "$(realpath "$shared")")${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
export LD_LIBRARY_PATH

# bad NAME: a copy of the good model, to be damaged; its path is $model.
bad() {
    model=$folder/$1
    mkdir "$model"
    cp "$golden/config.json" "$golden/model.safetensors" "$model"
    chmod -R u+w "$model"
}
bad no-config; rm "$model/config.json"
bad empty-config; : >"$model/config.json"
bad cut-config; head -c 300 "$golden/config.json" >"$model/config.json"
bad deep-config; yes '[' | head -n 5000 | tr -d '\n' >"$model/config.json"
bad other-config; echo '{"model_type": "llama"}' >"$model/config.json"
bad control-config; printf '{"model_type": "\033[2Jx\n"}' >"$model/config.json"
bad huge-sizes; sed 's/"hidden_size": 64/"hidden_size": 4294967295/' "$golden/config.json" >"$model/config.json"
bad no-weights; rm "$model/model.safetensors"
bad empty-weights; : >"$model/model.safetensors"
bad cut-weights; head -c 500000 "$golden/model.safetensors" >"$model/model.safetensors"
bad cut-header; head -c 100 "$golden/model.safetensors" >"$model/model.safetensors"
bad long-header; printf '\377\377\377\377\377\377\377\177{}' >"$model/model.safetensors"
bad noise-weights; head -c 100000 /dev/urandom >"$model/model.safetensors"
bad not-finite; { head -c 900000 "$golden/model.safetensors"; head -c 106688 /dev/zero | tr '\0' '\377'; } >"$model/model.safetensors"
bad no-such-shard; rm "$model/model.safetensors"
echo '{"weight_map": {"model.embed_tokens.weight": "gone.safetensors"}}' >"$model/model.safetensors.index.json"
bad climbing-shard; rm "$model/model.safetensors"
echo '{"weight_map": {"model.embed_tokens.weight": "../../etc/passwd"}}' >"$model/model.safetensors.index.json"
bad noise-tokenizer; head -c 10000 /dev/urandom >"$model/tokenizer.model"
bad cut-tokenizer; if [ -n "$vocabulary" ]; then head -c 5000 "$vocabulary"; else printf '\012\377\377'; fi >"$model/tokenizer.model"
mkdir "$folder/empty-folder"
head -c 5000 /dev/urandom >"$folder/a-file"
set -- "$golden" "$folder"/*-config "$folder"/*-sizes "$folder"/*-weights "$folder"/*-header "$folder"/not-finite "$folder"/*-shard "$folder"/*-tokenizer \
    "$folder/empty-folder" "$folder/a-file" "$folder/nowhere" google/no-such-model

"$folder/open_hostile" "$@" >"$folder/printed" 2>&1
code=$?
if [ "$code" -eq 0 ]; then
    passed
elif [ "$code" -gt "$#" ]; then
    failed "the program ends by itself (exit $code)"
else
    eval "path=\${$code}"
    failed "the good model works and bad ones give an error each; the first that did not: $path"
fi
check_empty "nothing is printed" "$folder/printed"
"$folder/open_hostile" "$@" >&- 2>&-
closed=$?
check "closed streams change nothing (exit $closed, was $code)" test "$closed" -eq "$code"
echo "TABLE $(($# - 1)) bad models, tokenizers and plugins"
finish
