# SPDX-License-Identifier: Apache-2.0
# What `convert` leaves behind: when it is ended, where something else than a file is, and of what the model it is made from says.
. tests/command/harness.sh
cp -R examples/demo/model "$dir/model"
case $rg in /*) ;; *) rg=$PWD/$rg ;; esac # it is run in other folders too

run convert "$dir/model" "$dir/one.rgm" --licence CC-BY-4.0 --source me/mine
check "a folder is converted" is $code 0
run convert "$dir/one.rgm" "$dir/two.rgm" --quantize q4
check "a native file too" is $code 0
run inspect "$dir/two.rgm"
check "it tells the source's source" has "$out" 'source: "me/mine"'
check "and its licence" has "$out" 'licence: "CC-BY-4.0"'
check "and what the matrices are" has "$out" 'matrices: "q4"'
run convert "$dir/two.rgm" "$dir/copy.rgm"
run inspect "$dir/copy.rgm"
check "a copy says what its matrices are" has "$out" 'matrices: "q4"'
echo "Some text." >"$dir/text"
run convert "$dir/two.rgm" "$dir/copy.rgm" --quantize q4 --calibrate "$dir/text"
run inspect "$dir/copy.rgm"
check "nothing was calibrated where nothing was quantised" lacks "$out" calibrated_on
run convert "$dir/one.rgm" "$dir/q8.rgm" --quantize q8
run convert "$dir/q8.rgm" "$dir/twice.rgm" --quantize q4 --requantize
run inspect "$dir/twice.rgm"
check "weights that were rounded twice say so" has "$out" 'quantised_before_as: "q8"'
for name in model model/ ./model/; do
    (cd "$dir" && exec "$rg" convert $name named.rgm) >"$dir/out" 2>"$dir/err"
    took $?
    run inspect "$dir/named.rgm"
    check "$name is called by its last part" has "$out" 'source: "model"'
done

cp "$dir/one.rgm" "$dir/damaged.rgm"
printf '\377' | dd of="$dir/damaged.rgm" bs=1 seek=$(($(wc -c <"$dir/one.rgm") / 2)) conv=notrunc 2>/dev/null
run convert "$dir/damaged.rgm" "$dir/never.rgm"
check "damage does not get checksums of its own" is $code 1
check "it is named" has "$err" "damaged"
check "and nothing is made" [ ! -e "$dir/never.rgm" ]

mkfifo "$dir/pipe"
run convert "$dir/model" "$dir/pipe"
check "a pipe is not replaced" is $code 1
check "it is there" [ -p "$dir/pipe" ]
check "and told of" has "$err" "regular file"
run convert "$dir/model" "$dir/model"
check "nor is a folder" is $code 1
check "which is told of" has "$err" "folder"

# Ended while it writes: a file that may not grow, and a signal.
(ulimit -f 1; exec "$rg" convert "$dir/model" "$dir/full.rgm") >"$dir/out" 2>"$dir/err"
took $?
check "a file that may not grow is an error" is $code 1
run synth "$dir/large" --config 90m
for signal in TERM HUP; do
    "$rg" convert "$dir/large" "$dir/ended.rgm" --quantize q4 -t 1 >"$dir/out" 2>"$dir/err" </dev/null &
    process=$!
    while kill -0 $process 2>/dev/null && [ -z "$(find "$dir" -name 'ended.rgm.*.tmp')" ]; do :; done
    kill -$signal $process 2>/dev/null
    wait $process
    took $?
    check "SIG$signal ends it" [ $code = 130 ]
done
check "nothing of it stays" [ -z "$(find "$dir" -name '*.tmp')" ]
# Parts that are large enough go past the system's cache: what is on the disk has to be what was made.
for bits in bf16 q8 q4; do
    run convert "$dir/large" "$dir/many.rgm" --quantize $bits
    run verify "$dir/many.rgm"
    check "large parts of $bits are whole" is $code 0
    run convert "$dir/large" "$dir/single.rgm" --quantize $bits -t 1
    check "and the same as those of one thread" cmp -s "$dir/many.rgm" "$dir/single.rgm"
done
finish
