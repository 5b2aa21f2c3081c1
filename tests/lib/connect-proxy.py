#!/usr/bin/env python3
"""connect-proxy.py PORT HOST...: an HTTP proxy for CONNECT alone, to these hosts; all it was sent goes to standard output."""

import socket
import sys
import threading


def carry(one, other):
    try:
        while data := one.recv(65536):
            other.sendall(data)
        other.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def serve(conn):
    head = b""
    while b"\r\n\r\n" not in head:
        if not (data := conn.recv(4096)):
            return
        head += data
    print(head.decode(), flush=True)
    host, _, port = head.split(b" ")[1].decode().rpartition(":")
    if host not in sys.argv[2:]:
        conn.sendall(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n")
        conn.close()
        return
    there = socket.create_connection((host, int(port)))
    conn.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
    threading.Thread(target=carry, args=(there, conn), daemon=True).start()
    carry(conn, there)


listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("listening", flush=True)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
