# SPDX-License-Identifier: Apache-2.0
# The command on a terminal (a pseudo-terminal here): text that is harmless, prompts, Ctrl-C, Ctrl-D, line editing.
import json
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import termios
import time

RG = os.path.join(os.environ.get("BUILD", "build"), "recurrentgemma")
PATIENCE = 60.0  # seconds until something that should come counts as missing; a slow machine is no failure
HAS_EDITOR = b"libedit" in subprocess.run(["ldd", RG], capture_output=True).stdout

passed = failed = 0


def check(sentence, is_true, shown=b""):
    global passed, failed
    passed += bool(is_true)
    failed += not is_true
    if not is_true:
        print("FAILED", sentence, shown[-400:])


class Terminal:
    """The command with a terminal on all three descriptors."""

    def __init__(self, *arguments):
        def begin():
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # a test in the background is started with it ignored
            os.execve(RG, [RG, *arguments], dict(os.environ, TERM="xterm", LC_ALL="C.UTF-8"))

        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            begin()
        self.text = b""

    def read(self):
        """Takes what is there within a moment; False at the end."""
        if not select.select([self.fd], [], [], 0.05)[0]:
            return True
        try:
            got = os.read(self.fd, 65536)
        except OSError:  # the other side is closed
            return False
        self.text += got
        return bool(got)

    def until(self, expected):
        """Waits for text after what was waited for before."""
        limit = time.time() + PATIENCE
        while expected not in self.text and time.time() < limit and self.read():
            pass
        before, found, self.text = self.text.partition(expected)
        return before if found else None

    def prompt(self):
        """Waits for a prompt, and until keys are no longer taken by the system's own line editing: the prompt is shown a moment earlier."""
        before = self.until(b"> ")
        limit = time.time() + PATIENCE
        while HAS_EDITOR and before is not None and termios.tcgetattr(self.fd)[3] & termios.ICANON and time.time() < limit:
            time.sleep(0.01)
        return before

    def type(self, keys):
        os.write(self.fd, keys)

    def end(self):
        """The exit code; the rest is in self.text."""
        limit = time.time() + PATIENCE
        while time.time() < limit and self.read():
            pass
        if time.time() >= limit:
            os.kill(self.pid, signal.SIGKILL)
        os.close(self.fd)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def detokenize(ids, *arguments):
    """What a terminal is sent for some ids; standard input is a pipe."""
    leader, follower = pty.openpty()
    process = subprocess.Popen([RG, "detokenize", "demo", *arguments], stdin=subprocess.PIPE, stdout=follower)
    os.close(follower)
    process.stdin.write(ids)
    process.stdin.close()
    text = b""
    while True:
        try:
            got = os.read(leader, 65536)
        except OSError:
            break
        text += got
    os.close(leader)
    return process.wait(), text.replace(b"\r\n", b"\n")


def tokenize(text):
    return subprocess.run([RG, "tokenize", "demo"], input=text, capture_output=True).stdout


if b"no demo model" in subprocess.run([RG, "inspect", "demo"], capture_output=True).stderr:
    print("skipped: the demo model is not built in")
    sys.exit(77)

hostile = b"a\x1b[2J\x07 \xc2\x9b31m \xe2\x80\xae\xe2\x81\xa6 b\tc\nd \xc3\xa9\x7f"
code, text = detokenize(tokenize(hostile))
check("a terminal is shown what is harmless", text == b"a\\x1b[2J\\x07 \\u009b31m \\u202e\\u2066 b\tc\nd \xc3\xa9\\x7f\n", text)
code, text = detokenize(tokenize(hostile), "--raw")
check("--raw shows every byte", text == hostile + b"\n", text)

t = Terminal("generate", "demo", "-p", "It is a truth", "-n", "10")
check("generate succeeds on a terminal", t.end() == 0)
check("and ends its line", t.text.endswith(b"\n") and not t.text.endswith(b"\n\r\n"), t.text)

t = Terminal("generate", "demo", "-p", "It is a truth", "-n", "1000000", "--ignore-eos")
limit = time.time() + PATIENCE
while len(t.text) < 40 and time.time() < limit and t.read():
    pass
t.type(b"\x03")
check("Ctrl-C ends generate with 130", t.end() == 130)
check("and the line is ended", t.text.endswith(b"\n"), t.text)

process = subprocess.Popen([RG, "generate", "demo", "-p", "It is a truth", "-n", "1000000", "--ignore-eos", "--json"], stdout=subprocess.PIPE,
                           preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
time.sleep(1)
process.send_signal(signal.SIGINT)
text = process.communicate()[0]
check("Ctrl-C with --json still prints what was written", process.returncode == 130 and b'"stop_reason": "interrupt"' in text, text)

t = Terminal("chat", "demo", "-n", "5", "--threads", "1")
check("chat shows a prompt", t.prompt() is not None, t.text)
t.type(b"Hello\r")
check("a reply comes, and the next prompt", t.prompt() is not None, t.text)
t.type(b"/helq\x7fp\r")
check("lines can be edited", t.until(b"/reset") is not None, t.text)
t.prompt()
t.type(b"/nonsense\r")
check("an unknown command is told", t.until(b"is not known") is not None, t.text)
t.prompt()
t.type(b"One \\\r")
check("a backslash asks for more", t.until(b". ") is not None, t.text)
t.type(b"line\r")
check("and then a reply comes", t.prompt() is not None, t.text)
t.type(b"never sent\x03")
check("Ctrl-C at the prompt drops the line and shows a new one", t.prompt() is not None, t.text)
if HAS_EDITOR:
    t.type(b"\x10\r")
    check("the history has the last message", t.until(b"line") is not None, t.text)
    t.prompt()
t.type(b"\x04")
check("Ctrl-D ends the chat", t.end() == 0)

with tempfile.TemporaryDirectory() as root:
    kept = os.path.join(root, "kept.rgs")
    t = Terminal("chat", "demo", "-n", "5", "--state", kept)
    t.prompt()
    t.type(b"One thing\r")
    t.prompt()
    t.type(b"Another thing\r")
    t.prompt()
    t.type(b"/rewind\r")
    shown = t.prompt()
    check("/rewind lists the turns with their first words", shown and b"2  One thing\r\n    1  Another thing" in shown, shown or t.text)
    t.type(b"/undo\r")
    shown = t.prompt()
    check("/undo tells which turn is the last one now", shown and b"the last turn is now: One thing" in shown, shown or t.text)
    t.type(b"/fork " + os.fsencode(os.path.join(root, "fork.rgs")) + b"\r")
    shown = t.prompt()
    check("/fork tells where the conversation is kept", shown and b"from here on the conversation is kept as" in shown, shown or t.text)
    t.type(b"/quit\r")
    check("and it ends well", t.end() == 0)
    t = Terminal("chat", "demo", "-n", "5", "--state", kept)
    shown = t.prompt()
    check("a later chat tells where it goes on", shown and b"the last turn is now: One thing" in shown, shown or t.text)
    t.type(b"\x04")
    t.end()

# A random model, whose greedy reply goes round in circles, since the demo's would end by itself.
with tempfile.TemporaryDirectory() as root:
    with open("tests/data/golden/griffin-rra/config.json") as f:
        config = dict(json.load(f), vocab_size=1200)  # the pieces of the tokenizer
    with open(os.path.join(root, "config.json"), "w") as f:
        json.dump(config, f)
    model = os.path.join(root, "model")
    subprocess.run([RG, "synth", model, "--config", os.path.join(root, "config.json")], check=True, capture_output=True)
    shutil.copy("tests/data/tokenizer/tokenizer.model", model)
    t = Terminal("chat", model, "-n", "1000000", "--ignore-eos")
    t.prompt()
    t.type(b"Hello\r")
    t.until(b"\n")  # the echo of the line
    limit = time.time() + PATIENCE
    while len(t.text) < 200 and time.time() < limit and t.read():
        pass
    check("a reply goes on and on", len(t.text) >= 200, t.text)
    t.type(b"\x03")
    check("Ctrl-C stops a reply, and the chat goes on", t.until(b"\n") is not None and t.prompt() is not None, t.text)
    t.type(b"/quit\r")
    check("/quit ends the chat", t.end() == 0)

print("%d passed, %d failed" % (passed, failed))
sys.exit(failed > 0)
