#!/usr/bin/python3
"""A /dev/log for a box: writes each datagram that arrives as one line, `facility.level message`, to a file.

Usage: devlog.py SOCKET FILE. Control bytes are shown as \\xNN, so that one datagram is always one line.
"""

import os
import socket
import sys

FACILITIES = {0: "kern", 1: "user", 3: "daemon", 4: "auth", 5: "syslog", 9: "cron", 10: "authpriv", 16: "local0"}
LEVELS = ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"]


def line(datagram: bytes) -> bytes:
    """One datagram as one line."""
    name, rest = b"none", datagram
    if datagram.startswith(b"<") and b">" in datagram[:6]:
        number, rest = datagram[1:].split(b">", 1)
        if number.isdigit():
            priority = int(number)
            facility = FACILITIES.get(priority >> 3, str(priority >> 3))
            name = f"{facility}.{LEVELS[priority & 7]}".encode()
    rest = rest.rstrip(b"\n\0")
    shown = b"".join(bytes([c]) if c >= 0x20 and c != 0x7F else b"\\x%02x" % c for c in rest)
    return name + b" " + shown + b"\n"


def main() -> None:
    """Binds the socket and never returns."""
    path, out = sys.argv[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener, open(out, "ab", buffering=0) as file:
        listener.bind(path)
        os.chmod(path, 0o666)
        while True:
            file.write(line(listener.recv(65536)))


main()
