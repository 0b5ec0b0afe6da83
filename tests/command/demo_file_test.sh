# SPDX-License-Identifier: Apache-2.0
# The demo model's file is what its weights become; and the command carries it, so that it works alone in an empty folder.
. tests/command/harness.sh
run inspect demo
if has "$err" "no demo model"; then echo "skipped: the demo model is not built in"; exit 77; fi

sh examples/demo/native.sh "$rg" "$dir/made.rgm" >"$dir/out" 2>"$dir/err"
took $?
check "the weights are converted" is $code 0
check "and become the file of the repository" cmp "$dir/made.rgm" examples/demo/demo.rgm
check "which is the one that is installed" cmp "$dir/made.rgm" "${BUILD:-build}/demo.rgm"

# A folder with nothing but the command. (That it needs no other file shows where there is none: tests/abi/installcheck.sh.)
mkdir "$dir/alone"
cp "$rg" "$dir/alone/command"
echo "It is a truth" >"$dir/text"
cd "$dir/alone" || exit 1
alone() {
    env -i PATH=/nowhere ./command "$@" >"$dir/out" 2>"$dir/err" </dev/null
    took $?
}
for verb in "generate demo -p It -n 5" "chat demo -n 5" "inspect demo --tensors" "inspect demo --json" "verify demo" "score demo -f ../text" "tokenize demo" "detokenize demo" \
    "bench demo --runs 1 --prompt 8 --depth 0 --batch 1 --steps 1 --buffer 16" "logits demo --tokens 2,5 --out logits" "convert demo again.rgm"; do
    alone $verb
    check "'$verb' works" is $code 0
done
alone generate demo -p It -n 10
said=$out
check "it writes" [ -n "$said" ]
for how in --map --no-map --verify; do
    alone generate demo -p It -n 10 $how
    check "it writes the same with $how" is "$out" "$said"
done
alone generate again.rgm -p It -n 10
check "and as a file" is "$out" "$said"
alone inspect demo
check "it is a native file of 8 bits" has "$out" "weights           q8"
check "whose manifest is shown" has "$out" 'licence: "Apache-2.0"'

# "demo" is that model; other names are files, also where they are called so.
alone inspect ./demo
check "./demo is a path" is $code 1
mkdir demo
alone inspect demo
check "a folder called demo does not hide the model" is $code 0
finish
