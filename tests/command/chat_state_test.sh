# SPDX-License-Identifier: Apache-2.0
# Conversations that outlive the program: chat --state and --store, and what their commands promise.
. tests/command/harness.sh
run inspect demo
if has "$err" "no demo model"; then echo "skipped: the demo model is not built in"; exit 77; fi
sampled="-n 12 --temp 0.9 --seed 5 --repetition-penalty 1.3"

# talk 'LINES' OPTIONS...: a chat whose standard input is these lines.
talk() {
    text=$1
    shift
    printf "$text" | "$rg" chat demo "$@" >"$dir/out" 2>"$dir/err"
    took $?
}
last() { printf '%s\n' "$1" | tail -n "$2"; }

# A new process goes on as the old one would have.
for options in "-n 12" "$sampled"; do
    talk 'Hello there\nWho are you?\nTell me more\n' $options
    whole=$out
    rm -f "$dir/a.rgs"
    talk 'Hello there\n' $options --state "$dir/a.rgs"
    first=$out
    check "a conversation that is kept reads the same ($options)" is "$code$first" "0$(printf '%s\n' "$whole" | head -c ${#first})"
    cp "$dir/a.rgs" "$dir/one.rgs"
    talk 'Who are you?\n' -n 12 --state "$dir/a.rgs"
    second=$out
    talk 'Tell me more\n' -n 12 --state "$dir/a.rgs"
    check "three processes write what one does ($options)" is "$first
$second
$out" "$whole"
    talk 'Who are you?\nTell me more\n' -n 12 --state "$dir/one.rgs"
    check "from any turn on ($options)" is "$first
$out" "$whole"
done
check "the file is the owner's alone" is "$(stat -c %a "$dir/a.rgs")" 600
check "nothing else is left in the folder" is "$(ls -A "$dir" | grep -c 'rgs')" 2
talk 'Hello\n' $sampled --state "$dir/seed.rgs"
cp "$dir/seed.rgs" "$dir/seed2.rgs"
cp "$dir/seed.rgs" "$dir/seed3.rgs"
cp "$dir/seed.rgs" "$dir/seed4.rgs"
talk 'More\n' -n 12 --state "$dir/seed.rgs"
more=$out
talk 'More\n' -n 12 --seed 77 --state "$dir/seed2.rgs"
check "--seed does not restart random numbers that go on" is "$out" "$more"
talk 'More\n' -n 12 --temp 0 --state "$dir/seed3.rgs"
greedy=$out
check "settings that are given win over saved ones" [ "$greedy" != "$more" ]
talk 'More\n' -n 12 --top-k 1 --state "$dir/seed4.rgs"
check "and the others stay" is "$out" "$greedy"
talk '' --state "$dir/never.rgs"
check "a conversation that never began leaves no file" is "$code$(ls "$dir" | grep -c never)" 00

# Taking back. With the penalty, a token of an undone reply that still counted would show.
options="-n 16 --repetition-penalty 1.5"
talk 'One\nThree\nFour\n' $options
want=$out
talk 'One\nTwo\n/undo\nThree\nFour\n' $options
check "/undo takes message, reply and penalties back" is "$(last "$out" 2)" "$(last "$want" 2)"
talk 'One\nTwo\nX\nY\n/rewind 3\nThree\nFour\n' $options
check "/rewind 3 takes three turns back" is "$(last "$out" 2)" "$(last "$want" 2)"
talk 'Zero\n/undo\nOne\nThree\nFour\n' $options
check "/undo of the first turn is a new beginning" is "$(last "$out" 3)" "$want"
rm -f "$dir/u.rgs"
talk 'One\nTwo\n' $options --state "$dir/u.rgs"
talk '/undo\n' $options --state "$dir/u.rgs"
check "a pipe is told nothing of it" is "$code$out$err" 0
talk 'Three\nFour\n' $options --state "$dir/u.rgs"
check "/undo works in a later process, and lasts" is "$out" "$(last "$want" 2)"
talk '/rewind\n' $options --state "$dir/u.rgs"
check "/rewind lists the turns that are left" is "$out" "    3  One
    2  Three
    1  Four"
talk '/rewind 4\n/rewind 0\n/rewind x\n/undo 2\n/rewind\n' $options --state "$dir/u.rgs"
check "what cannot be taken back is told" lines "$err" 4
check "how many there are is told" has "$err" "there are only 3 turns"
check "and nothing is taken back then" lines "$out" 3
talk '/undo\n' -n 8
check "nothing to undo is told" has "$err" "there is no turn to take back"
talk '/retry\n' -n 8
check "nothing to retry is told" has "$err" "there is no turn to take back"

turns=
for i in 1 2 3 4 5 6 7 8 9 10 11 12; do turns="$turns$i is a number, and here is what I think of it in a few more words\\n"; done
talk "${turns}New\n" -n 40
talk "$turns" -n 40 --state "$dir/long.rgs"
# Messages longer than the window, so that marks share nothing, and more of them than the budget has room for.
word=$(printf '%0200d' 0 | sed 's/0/a word /g')
wide=
for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do wide="$wide$word\\n"; done
# Windows of bfloat16 are half as large, and would all be held.
talk "$wide" -n 4 --state "$dir/wide.rgs" --backend reference
run state info "$dir/wide.rgs"
check "the last four turns can be taken back without reading" is "$(printf '%s\n' "$out" | grep -cE '  held .*turn (16|17|18|19|20): ')" 5
check "older ones have lost their memory, and keep their names" is "$(printf '%s\n' "$out" | grep -cE '  named .*turn [12]: ')" 2
check "the file does not grow for ever" [ "$(stat -c %s "$dir/wide.rgs")" -lt 5000000 ]
talk '/rewind 19\nNew\n' -n 8 --state "$dir/wide.rgs" --backend reference
check "and are taken back by reading" is "$code$err" 0
taken=$out
talk "$word\nNew\n" -n 8 --backend reference
check "to what they were" is "$(last "$out" "$(printf '%s\n' "$taken" | wc -l)")" "$taken"
for n in 1 2 3 4 9; do
    cp "$dir/long.rgs" "$dir/back.rgs"
    talk "/rewind $n\nNew\n" -n 40 --state "$dir/back.rgs"
    check "$n of many turns are taken back in a later process" is "$code$err" 0
    back=$out
    talk "$(printf '%s' "$turns" | sed "s/\\\\n/\\n/g" | head -n $((12 - n)))\nNew\n" -n 40
    check "to what it was $n turns ago" is "$(last "$out" "$(printf '%s\n' "$back" | wc -l)")" "$back"
done

# Another reply.
talk 'Hello\nWho are you?\n' $sampled --state "$dir/r.rgs"
old=$(last "$out" 1)
talk 'Hello\nWho are you?\n/retry\n/retry\nAnd then?\n' $sampled
whole=$out
talk '/retry\n' -n 12 --state "$dir/r.rgs"
new=$out
check "/retry writes another reply" [ -n "$new" -a "$new" != "$old" ]
talk '/retry\n' -n 12 --state "$dir/r.rgs"
newer=$out
check "and then another one" [ "$newer" != "$new" -a "$newer" != "$old" ]
talk 'And then?\n' -n 12 --state "$dir/r.rgs"
check "in new processes the same ones as in one" is "$new
$newer
$out" "$(printf '%s\n' "$whole" | tail -n "$(printf '%s\n%s\n%s\n' "$new" "$newer" "$out" | wc -l)")"
talk '/rewind\n' --state "$dir/r.rgs"
check "a turn that was written anew is one turn" is "$out" "    3  Hello
    2  Who are you?
    1  And then?"
talk 'Hello\n/retry\n' -n 12
check "without random numbers the reply is the same, and that is told" has "$err" "the reply is the same again"
check "since it is the same" is "$(printf '%s\n' "$out" | sort -u | wc -l)" 1

# Saving and forking.
printf 'precious\n' >"$dir/notes.txt"
talk 'Hello\n/save '"$dir"'/c.rgs\nMore\n/save '"$dir"'/c.rgs\n/fork '"$dir"'/f.rgs\nThis\n/save\n' -n 8
check "/save and /fork without --state want only a name" is "$code$err" 0
talk '/rewind\n' --state "$dir/c.rgs"
check "/save FILE keeps what there is" is "$out" "    2  Hello
    1  More"
talk '/rewind\n' --state "$dir/f.rgs"
check "/fork FILE goes on there" is "$out" "    3  Hello
    2  More
    1  This"
talk 'Hello\n/save '"$dir"'/notes.txt\n/fork '"$dir"'/c.rgs\n/fork\n/save\n/save '"$dir"'/none/x\nMore\n' -n 8
check "what cannot be saved is told" is "$code $(printf '%s\n' "$err" | wc -l)" "1 5"
check "a file of another kind is left alone" is "$(cat "$dir/notes.txt")" precious
check "and the conversation goes on" lines "$out" 2
talk 'Other\n/reset\n' -n 8 --state "$dir/c.rgs"
talk '/rewind\nHello\n' -n 8 --state "$dir/c.rgs"
check "/reset is kept as well" is "$out" "$(talk 'Hello\n' -n 8 && printf %s "$out")"

# wait_for COMMAND ...: until it succeeds, at most a minute; what is checked afterwards tells when it did not.
wait_for() {
    tries=1200
    until "$@" || [ $((tries -= 1)) -eq 0 ]; do sleep 0.05; done
}
has_bytes() { [ "$(wc -c <"$1")" -ge "$2" ]; }

# A program that is killed loses the turn under way at most.
# wait_until CONDITION...: at most a minute.
wait_until() {
    tries=1200
    until "$@" || [ $((tries -= 1)) -eq 0 ]; do sleep 0.05; done
}
is_longer() { [ "$(wc -c <"$1")" -ge "$2" ]; }
mkfifo "$dir/pipe"
"$rg" chat demo $sampled --state "$dir/k.rgs" <"$dir/pipe" >"$dir/out" 2>"$dir/err" &
process=$!
exec 3>"$dir/pipe"
printf 'Hello there\n' >&3
wait_for [ -f "$dir/k.rgs" ]
kill -9 $process
wait $process 2>/dev/null
exec 3>&-
talk 'Hello there\nWho are you?\n' $sampled
whole=$out
talk 'Who are you?\n' -n 12 --state "$dir/k.rgs"
check "killed between turns, the next process goes on" is "$out" "$(last "$whole" "$(printf '%s\n' "$out" | wc -l)")"
# A random model, whose replies go round in circles, since the demo's would end by themselves.
sed 's/"vocab_size": [0-9]*/"vocab_size": 1200/' $golden/griffin-rra/config.json >"$dir/config.json"
run synth "$dir/model" --config "$dir/config.json"
cp tests/data/tokenizer/tokenizer.model "$dir/model"
circle() { printf "$1" | "$rg" chat "$dir/model" -n 12 --state "$2" >"$dir/out" 2>"$dir/err"; took $?; }
circle 'Hello there\n' "$dir/k2.rgs"
"$rg" chat "$dir/model" -n 1000000 --ignore-eos --state "$dir/k2.rgs" <"$dir/pipe" >"$dir/out" 2>"$dir/err" &
process=$!
exec 3>"$dir/pipe"
printf 'Who are you?\n' >&3
wait_for has_bytes "$dir/out" 200
kill -9 $process
wait $process 2>/dev/null
exec 3>&-
circle '/rewind\nWho are you?\n' "$dir/k2.rgs"
resumed=$out
circle 'Hello there\n/rewind\nWho are you?\n' "$dir/k3.rgs"
check "killed within a turn, it goes on from the turn before" is "$resumed" "$(last "$out" "$(printf '%s\n' "$resumed" | wc -l)")"

# Two at once. The first one has read the conversation, the second one says something, then the first one does.
# two OPTIONS...: $dir/first has the first one's complaints, $code its exit code. Its lines come from the function `say`.
two() {
    rm -f "$dir/said" "$dir/first"
    { echo /ready; wait_for [ -e "$dir/said" ]; say; } | "$rg" chat demo -n 8 "$@" >"$dir/out" 2>"$dir/first" &
    process=$!
    wait_for [ -s "$dir/first" ] # it has read the conversation, and says that there is no /ready
    printf 'From the second\n' | "$rg" chat demo -n 8 "$@" >/dev/null 2>"$dir/second"
    second=$?
    touch "$dir/said"
    wait $process
    code=$? out=$(cat "$dir/out") err=$(grep -v /ready "$dir/first")
}
turns() { talk '/rewind\n' "$@" && printf '%s\n' "$out" | sed 's/^ *[0-9]*  //' | tr '\n' ','; }

say() { printf 'From the first\nAnd more\n'; }
talk 'Hello\n' -n 8 --state "$dir/two.rgs"
two --state "$dir/two.rgs"
check "of two at one file the second one to save is refused" is "$second$code" 01
check "and told what to do" has "$err" "/fork NAME keeps it under another name from here on, /save NAME a copy"
check "it goes on" lines "$out" 2
check "what the other one said is there" is "$(turns --state "$dir/two.rgs")" "Hello,From the second,"
check "what it said itself is beside it" is "$(turns --state "$dir/two.rgs-2")" "Hello,From the first,And more,"
check "and that is told" has "$err" "the conversation is kept as '$dir/two.rgs-2'"
cp "$dir/two.rgs" "$dir/two.rgs-2"
two --state "$dir/two.rgs"
check "a name that is taken is passed over" is "$(turns --state "$dir/two.rgs-3")" "Hello,From the second,From the first,And more,"
say() { printf 'From the first\n/save %s\n/save %s\n' "$dir/two.rgs" "$dir/copy.rgs"; }
two --state "$dir/two.rgs"
check "/save under the same name is refused as well" is "$(printf '%s\n' "$err" | grep -c 'no longer the file')" 2
check "/save under another one keeps it" has "$(turns --state "$dir/copy.rgs")" "From the second,From the first,"
check "and then it need not be kept beside" [ ! -e "$dir/two.rgs-4" ]
say() { printf 'From the first\n/fork %s\nAnd more\n' "$dir/fork.rgs"; }
two --state "$dir/two.rgs"
check "/fork goes on under the other one" is "$code$(turns --state "$dir/fork.rgs" | sed 's/.*From the first/From the first/')" "0From the first,And more,"
say() { rm "$dir/two.rgs"; printf 'From the first\n'; }
two --state "$dir/two.rgs"
check "where the file is gone nothing can be lost" is "$code$err" 0

# Nobody but root may write everywhere.
if [ "$(id -u)" -eq 0 ]; then as_somebody="setpriv --reuid=65534 --regid=65534 --clear-groups"; else as_somebody=; fi
mkdir "$dir/shut" && cp "$dir/good.rgs" "$dir/shut/here.rgs" 2>/dev/null || cp "$dir/a.rgs" "$dir/shut/here.rgs"
chmod 644 "$dir/shut/here.rgs" && chmod 555 "$dir/shut" && chmod 755 "$dir"
for file in here.rgs new.rgs; do
    printf 'Hello\n' | $as_somebody "$rg" chat demo -n 8 --state "$dir/shut/$file" >"$dir/out" 2>"$dir/err"
    took $?
    check "a folder that cannot be written to is told before anything is said ($file)" is "$code$out" 1
    check "in words ($file)" has "$err" "cannot write to the folder of '$dir/shut/$file': Permission denied"
done
# A disk that fills up while they talk: files may have 1 block.
{ printf 'Hello\nAnd more\n'; } | (ulimit -f 1; trap '' XFSZ; exec "$rg" chat demo -n 8 --state "$dir/full.rgs") >"$dir/out" 2>"$dir/err"
took $?
check "a chat that cannot be saved goes on" lines "$out" 2
check "and says so" is "$code $(printf '%s\n' "$err" | grep -c 'not saved: .*; the conversation goes on')" "1 3"

# Files that cannot be gone on from stay as they are.
cp "$dir/a.rgs" "$dir/good.rgs"
printf 'x' | dd of="$dir/a.rgs" bs=1 seek=5000 conv=notrunc 2>/dev/null
head -c 3000 "$dir/good.rgs" >"$dir/short.rgs"
for file in a.rgs short.rgs notes.txt; do
    cp "$dir/$file" "$dir/before"
    talk 'Hello\n' --state "$dir/$file"
    check "$file is refused" is "$code$out" 1
    check "$file is refused in one sentence" lines "$err" 1
    check "$file is not touched" cmp "$dir/$file" "$dir/before"
done
cp "$dir/good.rgs" "$dir/before"
printf 'Hello\n' | "$rg" chat $golden/griffin-rra --state "$dir/good.rgs" >"$dir/out" 2>"$dir/err"
took $?
check "a state of another model is refused" is "$code$out" 1
check "and the sentence says so" has "$err" "another model"
check "and it is not touched" cmp "$dir/good.rgs" "$dir/before"
talk 'Hello\n' --state "$dir/none/x.rgs"
check "a missing folder is told before anything is said" is "$code$out" 1
talk 'Hello\n' --state "$dir"
check "a folder is no file" is "$code$out" 1
talk 'More\n' -n 12 --page-length 4 --state "$dir/good.rgs"
check "other numerics are told" has "$err" "numerics: differs"
check "and it goes on" is "$code $(printf '%s\n' "$out" | wc -l)" "0 1"

# A state that another program has saved.
"${BUILD:-build}/examples/resume_chat" "$dir/foreign.rgs" Hello >/dev/null 2>"$dir/err"
took $?
check "an example saves a state" is $code 0
position() { "$rg" state info "$1" | sed -n 's/^position: *//p'; }
before=$(position "$dir/foreign.rgs")
talk '/rewind\n/undo\nMore\n/rewind\n/undo\n/undo\n' -n 8 --state "$dir/foreign.rgs"
check "chat goes on with it, and takes back its own turns" is "$(last "$out" 1)" "    1  More"
check "and no more" is "$(printf '%s\n' "$err" | grep -c 'there is no turn to take back')" 3
check "so that what the other program did is still there" is "$(position "$dir/foreign.rgs")" "$before"

# The same in a store.
talk 'Hello there\nWho are you?\n' $sampled
whole=$out
talk 'Hello there\n' $sampled --store "$dir/store" alice
if has "$err" "no conversation store"; then finish; fi
first=$out
check "a conversation is kept in a store" is "$code$err" 0
talk '/fork bob\n/save carol\nWho are you?\n/undo\nNo more\n' -n 12 --store "$dir/store" alice
check "/fork and /save want names of the store" is "$code$err" 0
talk '/fork bob\n/rewind\n' -n 12 --store "$dir/store" alice
check "a name is forked to once" is "$code $(printf '%s\n' "$err" | wc -l)" "1 1"
check "the old name stays where it was" is "$out" "    1  Hello there"
talk '/rewind\n' -n 12 --store "$dir/store" bob
check "the new one has gone on" is "$out" "    2  Hello there
    1  No more"
talk 'Who are you?\n' -n 12 --store "$dir/store" carol
check "and a copy goes on as the first one would have" is "$first
$out" "$whole"

# Two at once in a store: the tree is true.
# tree: each version as "number<parent:names".
tree() { "$rg" store log "$dir/$1" --json | sed -n 's/.*"names": \[\(.*\)\], "version": \([0-9]*\), "parent": \([0-9]*\).*/\2<\3:\1/p' | tr -d '"\n'; }
say() { printf 'From the first\nAnd more\n'; }
talk 'Hello\n' -n 8 --store "$dir/two" alice
two --store "$dir/two" alice
check "of two at one name the second one to save is refused" is "$second$code" 01
check "and told what to do" has "$err" "/fork NAME keeps it under another name from here on, /save NAME a copy"
check "what both said is there, from where it came" is "$(tree two)" "1<0:2<1:alice3<1:alice-2"
check "the first one's" is "$(turns --store "$dir/two" alice-2)" "Hello,From the first,And more,"
check "the second one's" is "$(turns --store "$dir/two" alice)" "Hello,From the second,"
say() { printf 'From the first\n/fork bob\nAnd more\n/save carol\nAnd then\n/save carol\n'; }
two --store "$dir/two" alice
check "/fork goes on under another name, /save keeps a copy, and all goes on from where it came" is "$code$(tree two)" \
    "01<0:2<1:3<1:alice-24<2:alice5<2:6<5:7<6:8<6:bob9<8:carol"
two --store "$dir/two" dora
check "two who begin one name do not bury one another either" is "$(turns --store "$dir/two" dora)$(turns --store "$dir/two" bob)" \
    "From the second,Hello,From the second,From the first,And more,And then,"
if [ "$(id -u)" -eq 0 ]; then chown -R 65534 "$dir/two"; fi
chmod 500 "$dir/two" && chmod 400 "$dir/two/store.db"
printf 'Hello\n' | $as_somebody "$rg" chat demo -n 8 --store "$dir/two" alice >"$dir/out" 2>"$dir/err"
took $?
check "a store that may only be read is told before anything is said" is "$code$out" 1
check "in words" has "$err" "cannot write to '$dir/two/store.db': Permission denied"
$as_somebody "$rg" store list "$dir/two" >"$dir/out" 2>"$dir/err"
took $?
check "and can be listed" is "$code$(wc -l <"$dir/out")" 05
chmod 700 "$dir/two"

printf 'Hello\n' | "$rg" chat $golden/griffin-rra --store "$dir/store" bob >"$dir/out" 2>"$dir/err"
took $?
check "another model is refused there too" is "$code$out" 1
talk 'Hello\n' --store "$dir/notes.txt" alice
check "a file is no store" is "$code$out" 1

talk '' --store "$dir/store"
check "--store without a name is a usage error" is $code 2
talk '' alice
check "a name without --store is a usage error" is $code 2
talk '' --store "$dir/store" alice --state "$dir/a.rgs"
check "--state and --store exclude each other" is $code 2
finish
