#!/usr/bin/env python3
"""lying-websocket.py PORT [CERT KEY]: a server of WebSockets that does wrong, each path in its own way; /echo does right.

Listens on all addresses of this machine, by TLS when it is given a certificate. What it was asked goes to standard
output: the path, and what stood behind `Authorization:`.
"""

import base64
import hashlib
import os
import socket
import ssl
import struct
import sys
import threading
import time

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


class Gone(Exception):
    pass


class Peer:
    def __init__(self, conn):
        self.conn = conn
        self.read = conn.makefile("rb")

    def send(self, data):
        self.conn.sendall(data)

    def frame(self, opcode, payload=b"", fin=True, rsv=0, mask=None, length=None):
        length = len(payload) if length is None else length
        head = bytes([(0x80 if fin else 0) | rsv | opcode])
        masked = 0x80 if mask else 0
        if length < 126:
            head += bytes([masked | length])
        elif length < 65536:
            head += bytes([masked | 126]) + struct.pack(">H", length)
        else:
            head += bytes([masked | 127]) + struct.pack(">Q", length)
        if mask:
            head += mask
            payload = bytes(b ^ mask[i % 4] for i, b in enumerate(payload))
        self.send(head + payload)

    def exactly(self, count):
        data = self.read.read(count)
        if len(data) < count:
            raise Gone
        return data

    def next(self):
        first, second = self.exactly(2)
        length = second & 0x7F
        if length == 126:
            (length,) = struct.unpack(">H", self.exactly(2))
        elif length == 127:
            (length,) = struct.unpack(">Q", self.exactly(8))
        if not second & 0x80:
            say("a client's frame without a mask")
            raise Gone
        mask = self.exactly(4)
        data = self.exactly(length)
        stream = (mask * (length // 4 + 1))[:length]
        return first & 15, (int.from_bytes(data, "big") ^ int.from_bytes(stream, "big")).to_bytes(length, "big")


def say(*words):
    print(*words, flush=True)


def echo(peer, pieces=1):
    while True:
        opcode, data = peer.next()
        if opcode == CLOSE:
            say("closed with", int.from_bytes(data[:2], "big") if data else "nothing")
            peer.frame(CLOSE, data)
            return
        if opcode == PING:
            peer.frame(PONG, data)
        elif opcode == BINARY:
            if pieces == 1:
                peer.frame(BINARY, data)
                continue
            step = max(1, len(data) // pieces)
            cut = [data[at : at + step] for at in range(0, len(data), step)] or [b""]
            for n, piece in enumerate(cut):
                # Between the pieces of a message there may be words of control.
                peer.frame(PING, b"between")
                peer.frame(BINARY if n == 0 else 0, piece, fin=n == len(cut) - 1)


def behave(peer, how, rest, headers):
    if how == "echo":
        echo(peer)
    elif how == "pieces":
        echo(peer, 7)
    elif how == "sum":
        total, digest = 0, hashlib.sha256()
        while True:
            opcode, data = peer.next()
            if opcode == CLOSE:
                say("sum", total, digest.hexdigest())
                peer.frame(CLOSE, data)
                return
            total += len(data)
            digest.update(data)
    elif how == "port":
        # What a server behind a hub does: the bytes go to a port of this machine.
        there = socket.create_connection(("198.51.100.7", int(rest)))

        def back():
            while data := there.recv(65536):
                peer.frame(BINARY, data)
            peer.frame(CLOSE, b"")

        threading.Thread(target=back, daemon=True).start()
        while True:
            opcode, data = peer.next()
            if opcode == CLOSE:
                there.close()
                return
            if opcode == BINARY:
                there.sendall(data)
    elif how == "source":
        left = int(rest)
        while left:
            piece = b"\0" * min(left, 65536)
            peer.frame(BINARY, piece)
            left -= len(piece)
        peer.frame(CLOSE, struct.pack(">H", 1000))
    elif how == "ping":
        peer.frame(PING, b"are you there")
        while True:
            opcode, data = peer.next()
            if opcode == PONG:
                peer.frame(BINARY, b"pong " + data)
                peer.frame(CLOSE, b"")
                return
    elif how == "late":
        # The last words come behind the client's own end.
        while peer.next()[0] != CLOSE:
            pass
        peer.frame(BINARY, b"last words")
        peer.frame(CLOSE, struct.pack(">H", 1000))
    elif how == "text":
        peer.frame(TEXT, b"hello")
        say("told", int.from_bytes(peer.next()[1][:2], "big"))
    elif how == "fed-text":
        peer.frame(BINARY, b"hello")
        peer.frame(TEXT, b"hello")
    elif how == "not-utf8":
        peer.frame(TEXT, b"\xff\xfe")
    elif how == "middle":
        peer.frame(BINARY, b"hello")
        peer.frame(BINARY, b"x" * 10, length=1000)
    elif how == "middle-of-message":
        peer.frame(BINARY, b"hello", fin=False)
    elif how == "huge":
        peer.frame(BINARY, b"x" * 10, length=1 << 40)
        time.sleep(5)
    elif how == "endless":
        peer.frame(BINARY, b"x" * 65536, fin=False)
        while True:
            peer.frame(0, b"x" * 65536, fin=False)
    elif how == "close":
        code, _, reason = rest.partition("/")
        peer.frame(CLOSE, struct.pack(">H", int(code)) + reason.encode() if code else b"")
    elif how == "fed-close":
        peer.frame(BINARY, b"hello")
        peer.frame(CLOSE, struct.pack(">H", int(rest)) + b"\x1b[2J rest")
    elif how == "never-hangs-up":
        peer.frame(CLOSE, struct.pack(">H", 1000))
        time.sleep(30)
    elif how == "masked":
        peer.frame(BINARY, b"hello", mask=b"abcd")
    elif how == "reserved":
        peer.frame(BINARY, b"hello", rsv=0x40)
    elif how == "unknown":
        peer.frame(3, b"hello")
    elif how == "continued":
        peer.frame(0, b"hello")
    elif how == "long-ping":
        peer.frame(PING, b"x" * 200)
    elif how == "many-pings":
        for _ in range(200000):
            peer.frame(PING, b"x" * 125)
        peer.frame(BINARY, b"done")
        peer.frame(CLOSE, b"")
    elif how == "stops-reading":
        time.sleep(60)
    elif how == "gone":
        pass


def answer(conn, status, kind="text/plain", body=b"", more=()):
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Type: {kind}", f"Content-Length: {len(body)}", *more]
    conn.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)


def serve(conn, context):
    try:
        if context:
            conn = context.wrap_socket(conn, server_side=True)
        peer = Peer(conn)
        method, path, _ = peer.read.readline().decode().split(" ")
        headers = {}
        while line := peer.read.readline().decode().strip():
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        token = headers.get("authorization", "-")
        say(method, path, token, headers.get("host"), headers.get("origin", "-"), headers.get("sec-websocket-protocol", "-"))
        _, how, *rest = path.partition("?")[0].split("/", 2)
        rest = rest[0] if rest else ""
        if how == "status":
            code, _, kind = rest.partition("/")
            if kind == "json":
                answer(conn, code, "application/json", b'{"status": %s, "message": "so it is \\u001b[2J"}' % code.encode())
            elif kind == "html":
                answer(conn, code, "text/html; charset=utf-8", b"<!doctype html><title>Log in</title>")
            elif kind == "token":
                answer(conn, code, "text/plain", b"no good: " + token.encode())
            else:
                answer(conn, code, body=b"plain words")
            return
        if how == "redirect":
            answer(conn, 302, "text/html", more=[f"Location: {headers['host']}/elsewhere?{token}"])
            return
        if how == "silent":
            time.sleep(30)
            return
        if how == "slowly":
            for byte in b"HTTP/1.1 101 Switching Protocols\r\n" + b"X: y\r\n" * 50:
                conn.sendall(bytes([byte]))
                time.sleep(0.2)
            return
        if how == "ssh":
            conn.sendall(b"SSH-2.0-x\r\n" * 10)
            return
        if how == "long-head":
            conn.sendall(b"HTTP/1.1 101 x\r\n")
            while True:
                conn.sendall(b"X: " + b"y" * 1000 + b"\r\n")
        if how == "many-headers":
            conn.sendall(b"HTTP/1.1 101 x\r\n" + b"X: y\r\n" * 1000 + b"\r\n")
            return
        if how == "hangs-up":
            return
        key = headers["sec-websocket-key"].encode()
        accept = base64.b64encode(hashlib.sha1(key + GUID).digest()).decode()
        lines = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"]
        if how == "other-key":
            accept = base64.b64encode(b"x" * 20).decode()
        if how == "extension":
            lines.append("Sec-WebSocket-Extensions: permessage-deflate")
        if how == "protocol":
            lines.append("Sec-WebSocket-Protocol: tty")
        if how == "no-upgrade":
            lines = lines[:1]
        lines.append(f"Sec-WebSocket-Accept: {accept}")
        peer.send("\r\n".join(lines).encode() + b"\r\n\r\n")
        behave(peer, how, rest, headers)
    except (Gone, OSError, ValueError):
        pass
    finally:
        try:
            conn.shutdown(socket.SHUT_WR)
            conn.settimeout(1)
            while conn.recv(65536):
                pass
        except OSError:
            pass
        conn.close()


def main():
    context = None
    if len(sys.argv) > 2:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(sys.argv[2], sys.argv[3])
    listener = socket.create_server(("::", int(sys.argv[1])), family=socket.AF_INET6, dualstack_ipv6=True)
    say("listening", os.getpid())
    while True:
        conn, _ = listener.accept()
        conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=serve, args=(conn, context), daemon=True).start()


main()
