#!/usr/bin/python3
"""Stands between a client and an engine's socket, and says of every exec that its process is another one.

Usage: lying-engine.py LISTEN ENGINE PID
"""

import re
import socket
import sys
import threading


def copy(source: socket.socket, sink: socket.socket, pid: str) -> None:
    """Copies to the end. In an answer about an exec the number gets as many blanks as it is shorter."""

    def lie(match: re.Match[bytes]) -> bytes:
        return match[1] + pid.encode()[: len(match[2])].rjust(len(match[2]))

    while True:
        try:
            data = source.recv(65536)
        except OSError:
            data = b""
        if b'"ExitCode"' in data and b'"ContainerID"' in data:
            data = re.sub(rb'("Pid":)([0-9]+)', lie, data)
        try:
            if not data:
                sink.shutdown(socket.SHUT_WR)
                return
            sink.sendall(data)
        except OSError:
            return


def main() -> None:
    """Serves for ever."""
    listen, engine, pid = sys.argv[1:]
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(listen)
    listener.listen(16)
    while True:
        client, _ = listener.accept()
        server = socket.socket(socket.AF_UNIX)
        server.connect(engine)
        for pair in ((client, server), (server, client)):
            threading.Thread(target=copy, args=(*pair, pid), daemon=True).start()


main()
