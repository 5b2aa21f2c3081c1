#!/usr/bin/env python3
"""Many TCP connections at once, with nothing but the standard library.

serve PORT: echoes on 127.0.0.1, whoever comes.
ask PORT N SECONDS: opens N connections, sends a byte on each, says how many answered, and keeps them for SECONDS.
knock PROXY N: asks a SOCKS proxy for N connections to closed ports, one after the other.
"""
import resource
import selectors
import socket
import struct
import sys
import time

resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))


def serve(port):
    ready = selectors.DefaultSelector()
    listener = socket.create_server(("127.0.0.1", port), backlog=1024)
    ready.register(listener, selectors.EVENT_READ)
    while True:
        for key, _ in ready.select():
            if key.fileobj is listener:
                ready.register(listener.accept()[0], selectors.EVENT_READ)
                continue
            data = key.fileobj.recv(4096)
            if data:
                key.fileobj.sendall(data)
            else:
                ready.unregister(key.fileobj)
                key.fileobj.close()


def ask(port, count, seconds):
    held = []
    for _ in range(count):
        held.append(socket.create_connection(("127.0.0.1", port), 10))
        held[-1].sendall(b"x")
    answered = 0
    end = time.monotonic() + 15
    for one in held:
        one.settimeout(max(0.05, end - time.monotonic()))
        try:
            answered += one.recv(1) == b"x"
        except OSError:
            pass
    print("answered", answered, flush=True)
    time.sleep(seconds)


def knock(port, count):
    for number in range(count):
        with socket.create_connection(("127.0.0.1", port), 5) as s:
            s.sendall(b"\5\1\0")
            assert s.recv(2) == b"\5\0"
            s.sendall(b"\5\1\0\1\x7f\0\0\1" + struct.pack(">H", 20000 + number))
            assert s.recv(10)[1:2] != b"\0"


what, *numbers = sys.argv[1:]
{"serve": serve, "ask": ask, "knock": knock}[what](*map(int, numbers))
