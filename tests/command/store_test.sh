# SPDX-License-Identifier: Apache-2.0
# The store: put, get, fork, list, log, delete, gc, verify.
. tests/command/harness.sh
run inspect demo
if has "$err" "no demo model"; then echo "skipped: the demo model is not built in"; exit 77; fi
run store list "$dir/probe"
if has "$err" "SQLite was left out"; then echo "skipped: this build has no store"; exit 77; fi

talk() {
    file=$1
    shift
    printf "$@" | "$rg" chat demo -n 8 --state "$file" >/dev/null 2>&1
}
talk "$dir/1.rgs" 'Hello there\n'
cp "$dir/1.rgs" "$dir/2.rgs" && talk "$dir/2.rgs" 'Who are you?\n'
cp "$dir/1.rgs" "$dir/3.rgs" && talk "$dir/3.rgs" 'And what is that?\n'
cp "$dir/2.rgs" "$dir/4.rgs" && talk "$dir/4.rgs" 'Tell me more.\n'
check "there are saved states to put" [ -s "$dir/4.rgs" ]
store=$dir/chats

# Help and wrong arguments.
run store --help
check "store --help succeeds" is $code 0
for verb in put get fork list log delete gc verify; do
    check "store --help lists $verb" has "$out" "  $verb "
done
for line in "put DIR NAME FILE" "get DIR NAME FILE" "fork DIR NAME NEW" "list DIR" "log DIR [NAME]" "delete DIR NAME" "gc DIR" "verify DIR"; do
    verb=${line%% *}
    run store $verb --help
    check "store $verb --help succeeds" is $code 0
    check "store $verb --help says how" has "$out" "Usage: recurrentgemma store $line [OPTION...]"
    check "store $verb --help fits in 80 columns" is "$(awk 'length($0) > 80' "$dir/out")" ""
    run store $verb
    check "store $verb without operands is a usage error" is "$code$out" 2
    check "which names the first" has "$err" "recurrentgemma store $verb: DIR is missing"
    run store $verb a b c d
    check "store $verb takes no operand more" is "$code$out" 2
    run store $verb "$store" --no-such-option
    check "store $verb refuses unknown options" is "$code$out" 2
done
run store
check "store without a verb is a usage error" is $code 2
run store lst "$store"
check "a verb that is spelt wrong gives a hint" has "$code$err" "did you mean list?"
run store put "$store" alice
check "a missing operand is named" has "$code$err" "FILE is missing"
run store get "$store" alice "$dir/x" --version 0
check "--version begins at 1" is $code 2
run store gc "$store" --keep 0
check "--keep begins at 1" is $code 2
check "nothing was made by any of that" [ ! -e "$store" ]

# A store that is not there.
for line in "list" "log" "gc" "verify"; do
    run store $line "$store"
    check "$line of no store is a failure" is "$code$out" 1
    check "$line of no store says so" has "$err" "there is no store"
done
run store delete "$store" alice
check "delete in no store is a failure" is "$code$out" 1
run store put "$store" alice "$dir/none.rgs"
check "a file that is not there is a failure" is "$code$out" 1
run store put "$store" alice tests/command/harness.sh
check "a file that is no saved state is a failure" is "$code$out" 1
check "nothing was made by that either" [ ! -e "$store" ]

# alice: 1, 2, 4; bob: from 1 on, 3.
run store put "$store" alice "$dir/1.rgs"
check "put prints the version" is "$code$out" 01
run store put "$store" alice "$dir/2.rgs"
check "the next one is version 2" is "$code$out" 02
run store fork "$store" alice bob --version 1
check "fork says nothing" is "$code$out$err" 0
run store put "$store" bob "$dir/3.rgs"
check "a fork goes on by itself" is "$code$out" 03
run store put "$store" alice "$dir/4.rgs"
check "and so does the other" is "$code$out" 04
run store fork "$store" alice bob
check "a name that exists is not forked to" is $code 1
run store fork "$store" carol dave
check "a name that does not exist is not forked" is $code 1
run store put "$store" "$(printf 'a\nb')" "$dir/1.rgs"
check "names have no control characters" is $code 1

# What comes out is what went in.
for pair in alice:4 bob:3; do
    run store get "$store" ${pair%:*} "$dir/out.rgs"
    check "get ${pair%:*} says nothing" is "$code$out$err" 0
    check "get ${pair%:*} gives every byte" cmp "$dir/out.rgs" "$dir/${pair#*:}.rgs"
done
for version in 1 2; do
    run store get "$store" alice "$dir/out.rgs" --version=$version
    check "get --version $version gives every byte" cmp "$dir/out.rgs" "$dir/$version.rgs"
done
check "the file is its owner's alone" is "$(stat -c %a "$dir/out.rgs")" 600
run store get "$store" alice "$dir/none.rgs" --version 3
check "another name's version is not alice's" is $code 1
check "and no file is written" [ ! -e "$dir/none.rgs" ]
run store get "$store" alice "$dir/no/such/folder.rgs"
check "a file that cannot be written is a failure" is $code 1

cd "$dir" || exit 1
case $rg in /*) own=$rg ;; *) own=$OLDPWD/$rg ;; esac
"$own" store get "$store" alice - >out 2>err </dev/null
took $?
check "- is no file, and no standard output either" is "$code$out" 1
check "which is told" has "$err" "./-"
check "and nothing is made of it" [ ! -e ./- ]
cd "$OLDPWD" || exit 1

# Lists and the tree.
run store list "$store"
check "list has a line for each name" lines "$out" 2
check "in the order of names" has "$(printf '%s' "$out" | sed -n 1p)" "  alice"
run store log "$store" alice
check "log NAME goes back to the first version" is "$(awk '{ print $1 }' "$dir/out" | tr '\n' ' ')" "4 2 1 "
run store log "$store"
sed 's/ *[0-9]* tokens.*[0-9:]\{8\}//' "$dir/out" >"$dir/tree"
printf '* 1\n|-* 3  bob\n* 2\n* 4  alice\n' >"$dir/expected"
check "log draws the tree" cmp "$dir/tree" "$dir/expected"
run store fork "$store" alice "left $(printf '\342\200\256')right"
run store list "$store"
check "names are shown without power over the terminal" has "$out" 'left \u202eright'
run store list "$store" --json
cp "$dir/out" "$dir/list.json"
run store log "$store" --json
cp "$dir/out" "$dir/log.json"
cat >"$dir/keys.py" <<'END'
import json, os, sys, time
folder, names, log = sys.argv[1], json.load(open(sys.argv[2])), json.load(open(sys.argv[3]))
assert [v["names"] for v in names] == [["alice"], ["bob"], ["left \u202eright"]], names
assert [(v["version"], v["parent"], v["names"]) for v in log] == [(1, 0, []), (2, 1, []), (3, 1, ["bob"]), (4, 2, ["alice", "left \u202eright"])], log
for v in log:
    assert list(v) == ["names", "version", "parent", "tokens", "bytes", "created_ms"], list(v)
    assert v["bytes"] == os.path.getsize(f"{folder}/{v['version']}.rgs")
    assert v["tokens"] > 0 and abs(v["created_ms"] / 1000 - time.time()) < 3600
END
check "--json is JSON with the keys that were promised" /usr/bin/python3 "$dir/keys.py" "$dir" "$dir/list.json" "$dir/log.json"
run store delete "$store" "left $(printf '\342\200\256')right"
check "a name is deleted" is "$code$out$err" 0

# A wider tree: branches of branches, several trees, a name on a version that goes on.
tree=$dir/tree.store
for line in "put a 1" "put a 2" "fork a b" "put b 3" "put a 4" "fork b c" "put c 4" "put b 4" "put z 1" "fork z y" "put z 2"; do
    set -- $line
    case $1 in put) run store put "$tree" $2 "$dir/$3.rgs" ;; fork) run store fork "$tree" $2 $3 ;; esac
done
run store log "$tree"
sed 's/ *[0-9]* tokens.*[0-9:]\{8\}//' "$dir/out" >"$dir/tree"
printf '* 1\n* 2\n|-* 4  a\n* 3\n|-* 6  b\n* 5  c\n\n* 7  y\n* 8  z\n' >"$dir/expected"
check "branches stand to the right, trees apart" cmp "$dir/tree" "$dir/expected"

# gc and verify.
run store verify "$store"
check "a good store is sound" has "$code$out" "04 versions and"
run store gc "$store"
check "gc removes nothing that is needed" has "$code$out" "0removed 0 versions and 0 pages; 4 versions"
run store gc "$store" --keep 1
check "gc --keep 1 leaves the newest" has "$code$out" "0removed 2 versions"
run store get "$store" alice "$dir/out.rgs"
check "which is whole" cmp "$dir/out.rgs" "$dir/4.rgs"
run store get "$store" alice "$dir/out.rgs" --version 2
check "what was removed is not found" is $code 1
run store delete "$store" bob
run store delete "$store" bob
check "a name is deleted once" is $code 1
run store gc "$store"
check "and its versions go" has "$code$out" "0removed 1 versions"

size=$(stat -c %s "$store/store.db")
printf 'damage' | dd of="$store/store.db" bs=1 seek=$((size - 9000)) conv=notrunc 2>/dev/null
run store verify "$store"
check "damage is found" is "$code$out" 1
check "and the version is told" has "$err" "version 4, the newest of 'alice', cannot be restored"
run store get "$store" alice "$dir/damaged.rgs"
check "a damaged version is not given out" is $code 1
check "and no file is written" [ ! -e "$dir/damaged.rgs" ]

# A damaged name.
/usr/bin/python3 - "$tree/store.db" <<'END'
import sqlite3, sys
store = sqlite3.connect(sys.argv[1])
store.execute("UPDATE names SET version = 99 WHERE name = 'b'")
store.execute("UPDATE names SET name = 'evil' || char(27) || '[2J' WHERE name = 'z'")
store.commit()
END
run store list "$tree"
check "a damaged name does not hide the others" is "$(awk '{ print $NF }' "$dir/out" | tr '\n' ' ')" "a c y "
check "and is told" has "$code$err" "1recurrentgemma store list: $tree: the store is damaged: the name 'b': its version is missing"
run store list "$tree" --json
check "also as JSON" [ "$code" -eq 1 -a "$(grep -c '"names": \["[acy]"\]' "$dir/out")" -eq 3 ]
run store log "$tree" b
check "and where it is asked for" has "$code$out$err" "1recurrentgemma store log: $tree: the store is damaged: the name 'b'"
run store log "$tree"
check "the tree has every version" [ "$code" -eq 1 -a "$(wc -l <"$dir/out")" -eq 9 ]
check "and what is no name commands no terminal" is "$(tr -cd '\033' <"$dir/out" | wc -c)$(tr -cd '\033' <"$dir/err" | wc -c)" 00
run store verify "$tree"
check "verify finds both" is "$code" 1

mkdir "$dir/other" && : >"$dir/other/file"
run store put "$dir/other" alice "$dir/1.rgs"
check "a folder with something else does not become a store" is $code 1
check "and stays as it was" is "$(ls -A "$dir/other")" file
"$rg" store list "$tree" >/dev/full 2>"$dir/err"
took $?
check "a full disk is a failure" is $code 1
finish
