#!/usr/bin/env python3
"""lying-jupyterhub.py PORT: the REST API of a JupyterHub that answers wrongly: /HOW/users, each HOW in its own way.

What it was asked goes to standard output: method, path, and whether a token came along.
"""

import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

KEY = sys.argv[2] if len(sys.argv) > 2 else ""
asked = {}


def user(name, **more):
    return {"kind": "user", "name": name, "admin": False, "groups": [], "servers": {}, "auth_state": None, **more}


def people(*names):
    return [user(name) for name in names]


GOOD = people("alice", "bob", "carol")


def page(items, offset=0, limit=100, total=None, next_offset=None):
    total = len(items) if total is None else total
    following = None if next_offset is None else {"offset": next_offset, "limit": limit, "url": "http://evil.example/"}
    return {"items": items, "_pagination": {"offset": offset, "limit": limit, "total": total, "next": following}}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        self.take("post")

    def do_GET(self):
        self.take("get")

    def take(self, method):
        url = urlsplit(self.path)
        how, _, rest = url.path.strip("/").partition("/")
        asked[how] = asked.get(how, 0) + 1
        print(method, self.path, "authorized" if "Authorization" in self.headers else "bare", flush=True)
        query = {name: values[-1] for name, values in parse_qs(url.query).items()}
        if method == "post":
            self.start(how)
        elif rest == "users":
            getattr(self, how.replace("-", "_"), self.missing)(int(query.get("offset", 0)))
        elif rest == "user":
            self.owner(how)
        elif rest.endswith("/progress"):
            self.progress(how)
        else:
            self.one(how, rest)
        self.close_connection = True

    def answer(self, status, body=b"", headers=(), media_type="application/json"):
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(body)))
        for header in headers:
            self.send_header(*header)
        self.end_headers()
        self.wfile.write(body)

    def missing(self, _):
        self.answer(404, {"status": 404})

    def owner(self, how):
        """Whose token it is, for check-token."""
        alice = user("alice", scopes=["access:servers"])
        match how.removeprefix("me-"):
            case "html":
                self.answer(200, b"<html>Please log in</html>", media_type="text/html")
            case "redirect":
                self.answer(302, headers=[("Location", "/me-good/user")])
            case "slow":
                time.sleep(7)
            case "big":
                self.answer(200, {**alice, "more": "x" * 300_000})
            case "cut":
                self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 999\r\n\r\n{")
            case "odd":
                self.answer(200, {"user": alice})
            case "good":
                self.answer(200, alice)
            case status:
                self.answer(int(status), {"status": int(status), "message": "words of the hub"})

    def one(self, how, rest):
        name = rest.removeprefix("users/")
        if how == "another":
            return self.answer(200, user("bob", auth_state={"keys": KEY}))
        if how == "html-post":
            return self.answer(200, b"<html>Please log in</html>", media_type="text/html")
        if how == "taker":
            return self.answer(200, user(name, servers={"bob": {}} if name == "erik" else {}))
        server = {"name": "", "ready": False, "pending": "spawn" if how == "endless-spawn" else None}
        return self.answer(200, user(name, servers={"": server}, auth_state={"keys": KEY if name == "alice" else None}))

    def start(self, how):
        if how == "elsewhere":
            return self.answer(307, headers=[("Location", "http://127.0.0.2:8094/good/users/alice/server")])
        if how == "busy":
            return self.answer(*((429, {}, [("Retry-After", "1")]) if asked[how] < 3 else (201, {})))
        if how == "html-post":
            return self.answer(200, b"<html>Please log in</html>", media_type="text/html")
        return self.answer(400 if how == "refuses" else 202, {"status": 400})

    def progress(self, how):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        try:
            if how == "endless-line":
                for _ in range(64):
                    self.wfile.write(b"data: " + b"x" * 65536)
            if how == "mute":
                self.wfile.write(b'data: {"progress": 100, "failed": true}\n\n')
            if how == "failed":
                self.wfile.write(b'data: {"progress": 100, "failed": true, "message": "no\\u0007 room"}\n\n')
            while how == "endless-spawn":
                self.wfile.write(b"\n\n")
                time.sleep(0.2)
        except OSError:
            pass

    def good(self, _):
        self.answer(200, page(GOOD))

    busy = refuses = failed = mute = endless_spawn = endless_line = another = good

    def html(self, _):
        self.answer(200, b"<html>Please log in</html>", media_type="text/html")

    def html_as_json(self, _):
        self.answer(200, b"<html>Please log in</html>")

    def bare_list(self, _):
        self.answer(200, GOOD)

    def bad(self, _):
        self.answer(400, {"status": 400, "message": "secret of the hub"})

    def forbidden(self, _):
        self.answer(403, {"status": 403})

    def broken(self, _):
        self.answer(500, {"status": 500})

    def elsewhere(self, _):
        self.answer(302, headers=[("Location", "http://127.0.0.2:8094/good/users")])

    def blind(self, _):
        self.answer(200, page([{"name": name, "kind": "user"} for name in ("alice", "bob", "carol")]))

    def twice(self, _):
        odd = [{"name": 7}, None, [], user("x" * 200), user("-dash"), user("a:b"), user(".."), user("dora", servers=[])]
        self.answer(200, page(GOOD + people("alice") + odd + [user("erik", servers={"": {}, "..": {}, "a/b": {}})]))

    def taker(self, _):
        self.answer(200, page(GOOD + [user("erik", servers={"bob": {}})]))

    def circle(self, offset):
        self.answer(200, page(people("alice", "bob"), offset=offset, limit=2, next_offset=offset))

    def endless(self, offset):
        names = [f"u{n}" for n in range(offset, offset + 2)]
        self.answer(200, page(people(*names), offset=offset, limit=2, next_offset=0 if offset > 20 else offset + 2))

    def moves(self, offset):
        """A user goes while the list is read, once: the ones behind move up."""
        names = ["alice", "bob", "carol", "dora", "erik"]
        if asked["moves"] > 1:
            names.remove("alice")
        part = names[offset : offset + 2]
        self.answer(200, page(people(*part), offset, 2, len(names), offset + 2 if offset + 2 < len(names) else None))

    def never_still(self, offset):
        part = [f"u{asked['never-still']}-{n}" for n in range(2)]
        self.answer(200, page(people(*part), offset, 2, 1000, offset + 2))


ThreadingHTTPServer(("0.0.0.0", int(sys.argv[1])), Handler).serve_forever()
