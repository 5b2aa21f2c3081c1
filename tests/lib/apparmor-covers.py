#!/usr/bin/env python3
"""apparmor-covers.py PROFILE PROGRAM TRACE: what PROGRAM did in TRACE that the profile in the file PROFILE does not allow.

The kernels that tests run on need not have AppArmor, so the rules are held against what strace saw (strace -f -y -e
trace=%file,%network,%process): files opened, sockets connected to, programs started, by the program and its children.
One line for each thing, as `w /path`; exit status 1 if there is one. Fails, too, if the program is not in the trace.
"""
import os
import re
import sys

BASE = "/etc/apparmor.d/"


def lines_of(path, seen):
    """The rules of a file and of what it includes, each as one text."""
    if path in seen:
        return
    seen.add(path)
    try:
        text = open(path).read()
    except OSError:
        return
    for line in text.splitlines():
        line = re.sub(r"(^|\s)#(?!include).*", "", line).strip()
        include = re.match(r"#?include (?:if exists )?<([^>]*)>", line)
        if include:
            name = BASE + include.group(1)
            yield from lines_of(name, seen)
            yield from directory(name, seen)
        elif line:
            yield line


def directory(name, seen):
    if os.path.isdir(name):
        for entry in sorted(os.listdir(name)):
            yield from lines_of(f"{name}/{entry}", seen)


def variables(rules):
    values = {}
    for rule in rules:
        found = re.match(r"(@\{\w+\})\s*\+?=\s*(.*)", rule)
        if found:
            values.setdefault(found.group(1), []).extend(found.group(2).split())
    return values


def expanded(text, values):
    found = re.search(r"@\{\w+\}", text)
    if not found:
        return [text]
    return [whole for value in values.get(found.group(), []) for whole in
            expanded(text[:found.start()] + value + text[found.end():], values)]


def pattern(glob):
    """apparmor.d(5), "Globbing", as a regular expression."""
    out, depth, at = "", 0, 0
    while at < len(glob):
        char = glob[at]
        if glob.startswith("**", at):
            out += ".*" if not out.endswith("/") else ".+"
            at += 1
        elif char == "*":
            out += "[^/]*" if not out.endswith("/") else "[^/]+"
        elif char == "?":
            out += "[^/]"
        elif char == "{":
            out, depth = out + "(?:", depth + 1
        elif char == "}":
            out, depth = out + ")", depth - 1
        elif char == "," and depth:
            out += "|"
        elif char == "[":
            end = glob.index("]", at)
            out, at = out + glob[at:end + 1], end
        else:
            out += re.escape(char)
        at += 1
    return re.compile(re.sub("/+", "/", out) + r"\Z")


def allowed(profile):
    rules = list(lines_of(profile, set()))
    values = variables(rules)
    for rule in rules:
        rule = re.sub(r"^(owner|file|allow)\s+", "", rule)
        found = re.match(r"(?:\"([^\"]+)\"|([/@]\S*))\s+([a-zA-Z]+)(?:\s+->.*)?,", rule)
        if found and not rule.startswith("deny"):
            for glob in expanded(found.group(1) or found.group(2), values):
                yield pattern(glob), found.group(3)


def done(program, trace):
    """What the program did: (permission, path)."""
    running = {}
    for line in open(trace, errors="replace"):
        found = re.match(r"(\d+)\s+(?:<\.\.\. )?(\w+)(.*)", line)
        if not found:
            continue
        pid, call, rest = found.groups()
        result = re.search(r"= (-?\d+)(?:<([^>]*)>)?[^=]*$", rest)
        if not result or int(result.group(1)) < 0:
            continue
        ours = running.get(pid) == program
        if call == "execve":
            new = re.search(r'"([^"]*)"', rest)
            # The first lines of a trace may be in the middle of a call.
            new = new.group(1) if new else None
            if ours and new:
                yield "x", new
            running[pid] = new
        elif call in ("clone", "clone3", "fork", "vfork"):
            running[re.match(r"\d+", result.group(1)).group()] = running.get(pid)
        elif ours and call in ("open", "openat", "openat2") and "O_PATH" not in rest:
            path = result.group(2) or ""
            if os.path.isdir(path):
                path += "/" * (path != "/")
            if path.startswith("/") and not path.startswith(("/memfd:", "/proc/self/fd")):
                if not re.search("O_WRONLY", rest):
                    yield "r", path
                if re.search("O_WRONLY|O_RDWR|O_CREAT", rest):
                    yield "w", path
        elif ours and call == "connect":
            socket = re.search(r'sun_path="([^"]+)"', rest)
            if socket:
                yield "w", socket.group(1)
    if program not in running.values() and not any(program in line for line in open(trace, errors="replace")):
        sys.exit(f"{program} is not in {trace}")


def main():
    profile, program, trace = sys.argv[1:]
    rules = list(allowed(profile))
    asked = sorted(set(done(program, trace)))
    missing = [(what, path) for what, path in asked
               if not any(what in permissions and glob.match(path) for glob, permissions in rules)]
    for what, path in missing:
        print(what, path)
    print(f"{len(asked)} things asked for", file=sys.stderr)
    sys.exit(1 if missing or not asked else 0)


main()
