#!/usr/bin/python3
"""Runs a command on a terminal of its own, of a given size, and copies what it prints to stdout.

Usage: on-terminal.py ROWSxCOLS [--type TEXT AFTER | --resize ROWSxCOLS AFTER]... -- CMD [ARG]...
--type and --resize happen in order, each when AFTER was seen in the output that followed the step before it.
TEXT may hold \\r, \\n and \\xNN. Exits as the command does (128 + N for signal N).
"""

import fcntl
import os
import pty
import signal
import struct
import sys
import termios
import time


def set_size(terminal: int, size: str) -> None:
    """Gives the terminal a size; whoever stands in its foreground gets SIGWINCH."""
    rows, columns = (int(n) for n in size.split("x"))
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def main() -> int:
    """Parses the arguments, runs the command, returns its status."""
    arguments = sys.argv[1:]
    size, steps = arguments.pop(0), []
    while arguments[0] != "--":
        steps.append((arguments.pop(0), arguments.pop(0), arguments.pop(0).encode()))
    command = arguments[1:]
    pid, terminal = pty.fork()
    if pid == 0:
        # The size must stand before the command looks at it.
        set_size(0, size)
        os.execvp(command[0], command)
    seen = b""
    while True:
        try:
            data = os.read(terminal, 65536)
        except OSError:  # EIO: the other side is closed
            break
        if not data:
            break
        os.write(1, data)
        seen += data
        while steps and steps[0][2] in seen:
            action, value, after = steps.pop(0)
            seen = seen.split(after, 1)[1]
            if action == "--resize":
                set_size(terminal, value)
            else:
                # A person's pause: tmux takes keys that come at once for pasted text.
                time.sleep(0.1)
                os.write(terminal, value.encode().decode("unicode_escape").encode("latin-1"))
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return status if status >= 0 else 128 - status


signal.signal(signal.SIGPIPE, signal.SIG_DFL)
sys.exit(main())
