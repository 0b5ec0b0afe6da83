# SPDX-License-Identifier: Apache-2.0
# Looking into saved states: state info, state diff, state verify.
. tests/command/harness.sh
run inspect demo
if has "$err" "no demo model"; then echo "skipped: the demo model is not built in"; exit 77; fi

talk() {
    text=$1
    shift
    printf "$text" | "$rg" chat demo "$@" >"$dir/out" 2>"$dir/err"
    took $?
}
talk 'Hello there\n' -n 12 --state "$dir/a.rgs"
cp "$dir/a.rgs" "$dir/b.rgs"
talk 'Who are you?\n' -n 12 --state "$dir/b.rgs"

# Help and wrong arguments.
run --help
check "--help names state" has "$out" "  state "
run state --help
check "state --help lists the verbs" has "$out" "  verify "
for verb in info diff verify; do
    run state $verb --help
    check "state $verb --help succeeds" is $code 0
    check "state $verb --help fits in 80 columns" is "$(awk 'length($0) > 80' "$dir/out")" ""
    run state $verb
    check "state $verb without a file is a usage error" is "$code$out" 2
    run state $verb "$dir/none" "$dir/none" --no-such-option
    check "state $verb refuses unknown options" is "$code$out" 2
    run state $verb "$dir/none" $([ $verb = diff ] && echo "$dir/a.rgs")
    check "state $verb of a file that is not there is a failure" is "$code$out" 1
    check "in one sentence" lines "$err" 1
done
run state
check "state without a verb is a usage error" is $code 2
run state inf
check "a verb that is spelt wrong gives a hint" has "$err" "did you mean info?"
run state diff "$dir/a.rgs"
check "diff wants two files" is $code 2

# info
run state info "$dir/b.rgs" --model demo
check "info succeeds" is "$code$err" 0
check "it tells that the model is the same" has "$out" "model:        same"
check "and the numerics" has "$out" "numerics:     same"
check "and the checkpoints with their names" has "$out" "turn 2: Who are you?"
run state info "$dir/b.rgs" --model demo --page-length 4
check "other pages are other numerics" has "$out" "numerics:     differs"
run state info "$dir/b.rgs" --model $golden/griffin-rra
check "another model is told" has "$out" "model:        differs: "
check "and why" has "$out" "vocab_size"
run state info "$dir/b.rgs" --json --model demo
cp "$dir/out" "$dir/b.json"
run inspect demo --json
cp "$dir/out" "$dir/model.json"
cat >"$dir/facts.py" <<'END'
import json, os, struct, sys
info, model = json.load(open(sys.argv[1])), json.load(open(sys.argv[2]))["model"]
file = sys.argv[3]
data = open(file, "rb").read()
assert info["n_bytes"] == len(data), info["n_bytes"]
assert struct.unpack_from("<Q", data, 64)[0] == info["position"] == info["n_tokens"], info  # docs/state-format.md
assert info["model_id"] == data[32:48].hex() and info["numerics_id"] == data[48:64].hex()
for key in ("vocab_size", "width", "lru_width", "n_layers", "n_attention_layers"):
    assert info[key] == model[key], key
assert (info["model"], info["numerics"], info["has_other_numerics"]) == ("same", "same", False)
assert (info["has_sampler"], info["has_detokenizer"], info["note_bytes"], info["page_length"]) == (True, False, 0, 64)
assert [(each["name"], each["is_held"], each["is_automatic"]) for each in info["checkpoints"]] == [
    ("turn 1: Hello there", True, False), ("turn 2: Who are you?", True, False)], info["checkpoints"]
assert info["checkpoints"][1]["position"] == info["position"] > info["checkpoints"][0]["position"]
sections = {each["name"]: each for each in info["sections"]}
assert sum(each["number"] for each in info["sections"]) == info["n_sections"]
assert list(sections) == ["records", "rg_lru", "conv1d", "hidden", "page", "tokens", "sampler"], list(sections)
n_recurrent = model["n_recurrent_layers"]
assert sections["rg_lru"]["number"] == 2 * n_recurrent and sections["rg_lru"]["bytes"] == 2 * n_recurrent * model["lru_width"] * 4
assert sections["conv1d"]["bytes"] == sections["rg_lru"]["bytes"] * (model["conv1d_width"] - 1)
assert sections["tokens"]["bytes"] == 4 * info["n_tokens"]
END
check "--json tells what the file and the model are" /usr/bin/python3 "$dir/facts.py" "$dir/b.json" "$dir/model.json" "$dir/b.rgs"

# diff
run state diff "$dir/a.rgs" "$dir/a.rgs"
check "a state is equal to itself" is "$code $(printf '%s' "$out" | cut -c 1-6)" "0 equal:"
run state diff "$dir/a.rgs" "$dir/b.rgs"
check "two states differ" is $code 1
check "in their positions" has "$out" "position: "
check "in their numbers" has "$out" "rg_lru of layer 0: first at byte "
check "by how much" has "$out" "of 192 numbers, by "
check "in what only one has" has "$out" "page 0 of checkpoint 1: only in $dir/b.rgs"
check "but not in the rows of the first turn" has "$out" "numbers that both have are equal"
talk 'Hello there\n' -n 12 --repetition-penalty 1.5 --temp 0.7 --state "$dir/c.rgs"
cp "$dir/c.rgs" "$dir/d.rgs"
talk '' -n 12 --state "$dir/d.rgs"
run state diff "$dir/c.rgs" "$dir/d.rgs"
check "a chat that says nothing changes nothing" is $code 0
talk '/fork '"$dir"'/e.rgs\n' --temp 0.2 --state "$dir/c.rgs"
run state diff "$dir/c.rgs" "$dir/e.rgs"
check "another setting is a difference of the sampler alone" is "$code$(printf '%s\n' "$out" | cut -d : -f 1)" 1sampler
run state diff "$dir/a.rgs" "$dir/b.rgs" --json
cp "$dir/out" "$dir/diff.json"
cat >"$dir/diff.py" <<'END'
import json, sys
report = json.load(open(sys.argv[1]))
assert report["is_equal"] is False
facts = {each["fact"]: each for each in report["differences"] if "fact" in each}
assert list(facts) == ["position"], facts
sections = [each for each in report["differences"] if "section" in each]
numbers = [each for each in sections if each["section"] == "rg_lru" and each["record"] == 0]
assert len(numbers) == 6 and all(0 < each["different"] <= each["numbers"] == 192 and each["largest"] > 0 for each in numbers), numbers
(page,) = [each for each in sections if each["section"] == "page" and each["record"] == 0]
assert page["in"] == "both" and page["different"] == 0 and page["largest"] == 0 and page["bytes_b"] > page["bytes_a"], page
END
check "--json tells the same" /usr/bin/python3 "$dir/diff.py" "$dir/diff.json"

# verify
run state verify "$dir/a.rgs" "$dir/b.rgs"
check "good states are told, a line each" is "$code$err $(printf '%s\n' "$out" | grep -c ': good, position ')" "0 2"
size=$(stat -c %s "$dir/a.rgs")
for at in 0 20 100 300 5000 $((size - 1)); do
    cp "$dir/a.rgs" "$dir/bad.rgs"
    printf '\245' | dd of="$dir/bad.rgs" bs=1 seek="$at" conv=notrunc 2>/dev/null
    run state verify "$dir/bad.rgs" "$dir/b.rgs"
    check "damage at byte $at is told" is "$code $(printf '%s\n' "$err" | wc -l)" "1 1"
    check "with its place" has "$err" "(at byte "
    check "and the good one after it is good" has "$out" "b.rgs: good"
done
head -c $((size - 1)) "$dir/a.rgs" >"$dir/short.rgs"
run state verify "$dir/short.rgs"
check "a file that was cut short is told" is "$code$out" 1
{ cat "$dir/a.rgs"; printf 'x'; } >"$dir/longer.rgs"
run state verify "$dir/longer.rgs"
check "and one that has become longer" is "$code$out" 1
"$rg" state info "$dir/a.rgs" >/dev/full 2>"$dir/err"
took $?
check "info on a full disk is a failure" is $code 1
finish
