#!/usr/bin/python3
"""Follows a page of Markdown as a reader would: runs its commands, writes its files, compares what is shown.

Usage: follow.py PAGE [--only TITLE]

Every fenced block of the page is one of these, and a block that is none of them is a fault of the page:

  sh       run by root of the bastion, in /root; must succeed
  console  a transcript. `bastion# CMD` is run by root, `laptop$ CMD` by the user `you`; a line that ends in `\\` goes on.
           Other lines are what must be shown; `...` in one stands for any text, a line of its own for any lines. A prompt
           like `dev@lab:~$ ` is typed in the shell that the command above it opened, on a terminal.
  others   content of the file that the line before the block names, alone and in backquotes, with a colon:
           `/etc/file`: as `At the end of `/etc/file`:` it is added. After `In `psql hub`:` it is that command's input.
  text     a picture

`<!-- within N seconds -->` before a transcript of one command: it is given again until it shows what is wanted.
`<!-- not run: WHY -->` before a block leaves it out, `<!-- run by 800 -->` says that the suite of that number runs it.
--only takes the part of the page below the heading TITLE, up to the next heading of its level.
"""

import difflib
import os
import pty
import re
import select
import subprocess
import sys
import time

LIMIT = 60
FENCE = re.compile(r"^```(\S*)$")
FILE = re.compile(r"^(At the end of )?`(/[^`]+)`:$")
INPUT = re.compile(r"^In `([^`]+)`:$")
ELSEWHERE = re.compile(r"^<!-- (not run: .+|.*\brun by [0-9]{3}.*) -->$")
SOON = re.compile(r"^<!-- within ([0-9]+) seconds -->$")
INNER = re.compile(r"^[a-z]+@[a-z0-9-]+:[^ ]*[$#] ")
ESCAPES = re.compile(r"\x1b(\[[0-9;?]*[a-zA-Z]|\][^\a]*\a)|\r")


class Fault(Exception):
    """What is wrong with the page, or with what it promises."""


def blocks(lines):
    """(number of the line, kind, the line before, text) of every fenced block."""
    before, at = "", 0
    while at < len(lines):
        opened = FENCE.match(lines[at])
        if opened:
            start, at = at, at + 1
            while at < len(lines) and lines[at] != "```":
                at += 1
            yield start + 1, opened[1], before, lines[start + 1 : at]
            before = ""
        elif lines[at].strip():
            before = lines[at]
        at += 1


def part(lines, title):
    """The lines below a heading; the others are empty, so that numbers stay what they are."""
    kept, level, in_block = [], 0, False
    for line in lines:
        in_block ^= line.startswith("```")
        heading = None if in_block else re.match(r"^(#+) +(.*?) *$", line)
        if heading and heading[2] == title:
            level = len(heading[1])
        elif heading and len(heading[1]) <= level:
            level = 0
        kept.append(line if level else "")
    if not any(kept):
        raise Fault(f"no heading '{title}'")
    return kept


def environment(home):
    return {"PATH": "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": home, "LANG": "C.UTF-8", "TERM": "dumb"}


def on(host):
    """The beginning of an argument list, and what goes with it: whoever types on that host."""
    if host == "bastion":
        return ["/bin/bash", "-c"], {"cwd": "/root", "env": environment("/root")}
    as_you = ["setpriv", "--reuid", "you", "--regid", "you", "--init-groups", "/bin/bash", "-c"]
    return as_you, {"cwd": "/home/you", "env": environment("/home/you") | {"USER": "you"}}


def run(host, command, stdin=subprocess.DEVNULL, text=None):
    argv, rest = on(host)
    how = {"input": text} if text is not None else {"stdin": stdin}
    try:
        return subprocess.run(
            [*argv, command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=LIMIT, encoding="utf-8", errors="replace", **how, **rest
        )
    except subprocess.TimeoutExpired as late:
        raise Fault(f"took longer than {LIMIT} seconds: {command}") from late


def must(host, command, **how):
    done = run(host, command, **how)
    if done.returncode:
        raise Fault(f"ended with {done.returncode}: {command}\n{done.stdout}")


def compare(shown, wanted, command):
    """Lines that were shown against lines of the page, where `...` stands for anything."""
    shown = [line.rstrip() for line in ESCAPES.sub("", shown).split("\n")]
    while shown and not shown[-1]:
        shown.pop()
    # `.` does not match a line's end, so that only `...` alone on a line passes over several.
    pattern = "".join("(?:.*\n)*?" if line == "..." else re.escape(line).replace(r"\.\.\.", ".*") + "\n" for line in wanted)
    if not re.fullmatch(pattern, "".join(line + "\n" for line in shown)):
        different = "\n".join(difflib.unified_diff(wanted, shown, "in the page", "seen", lineterm=""))
        raise Fault(f"shows something else: {command}\n{different}")


def typed(host, command, lines):
    """A command on a terminal, and what is typed there at each prompt of `lines`: all that the terminal shows."""
    argv, rest = on(host)
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(rest["cwd"])
        os.execvpe(argv[0], [*argv, command], rest["env"])
    steps = [(found[0], line[found.end() :]) for line in lines if (found := INNER.match(line))]
    seen, all_seen, end = "", "", time.monotonic() + LIMIT
    while time.monotonic() < end:
        try:
            readable = select.select([terminal], [], [], 1)[0]
            data = os.read(terminal, 65536) if readable else None
        except OSError:
            break
        if data == b"":
            break
        text = ESCAPES.sub("", (data or b"").decode("utf-8", "replace"))
        seen, all_seen = seen + text, all_seen + text
        if steps and seen.endswith(steps[0][0]):
            os.write(terminal, steps.pop(0)[1].encode() + b"\r")
            seen = ""
    else:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        raise Fault(f"took longer than {LIMIT} seconds: {command}\n{all_seen}")
    os.waitpid(pid, 0)
    return all_seen


def transcript(lines):
    at = 0
    while at < len(lines):
        prompt = re.match(r"^(bastion|laptop)[#$] ", lines[at])
        if not prompt:
            raise Fault(f"no prompt of bastion or laptop: {lines[at]}")
        host, command = prompt[1], lines[at][prompt.end() :]
        while command.endswith("\\"):
            at += 1
            command = command[:-1] + lines[at].lstrip()
        wanted = []
        at += 1
        while at < len(lines) and not re.match(r"^(bastion|laptop)[#$] ", lines[at]):
            wanted.append(lines[at])
            at += 1
        print(f"  {host}: {command}", flush=True)
        if any(INNER.match(line) for line in wanted):
            compare(typed(host, command, wanted), wanted, command)
        else:
            compare(run(host, command).stdout, wanted, command)


def follow(kind, before, lines):
    text = "".join(line + "\n" for line in lines)
    file, into = FILE.match(before), INPUT.match(before)
    if kind == "sh":
        print("  bastion: " + "; ".join(lines), flush=True)
        must("bastion", "set -eu\n" + text)
    elif kind == "console":
        soon = SOON.match(before)
        end = time.monotonic() + (int(soon[1]) if soon else 0)
        while True:
            try:
                return transcript(lines)
            except Fault:
                if time.monotonic() >= end:
                    raise
                time.sleep(0.5)
    elif into:
        print(f"  {into[1]}", flush=True)
        must("bastion", into[1], text=text)
    elif file:
        print(f"  file {file[2]}", flush=True)
        os.makedirs(os.path.dirname(file[2]), mode=0o755, exist_ok=True)
        with open(file[2], "a" if file[1] else "w", encoding="utf-8") as out:
            out.write(text)
    elif kind != "text":
        raise Fault(f"a block of kind '{kind}' that nothing runs")


def main():
    page = sys.argv[1]
    with open(page, encoding="utf-8") as source:
        lines = source.read().split("\n")
    at, ran = 0, 0
    os.umask(0o022)
    try:
        if sys.argv[2:3] == ["--only"]:
            lines = part(lines, sys.argv[3])
        for at, kind, before, text in blocks(lines):
            if not ELSEWHERE.match(before):
                follow(kind, before, text)
                ran += kind != "text"
        if not ran:
            raise Fault("nothing to follow")
    except Fault as fault:
        sys.exit(f"{page}:{at}: {fault}")
    print(f"{ran} blocks followed")


main()
