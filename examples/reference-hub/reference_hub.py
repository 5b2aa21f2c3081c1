#!/usr/bin/env python3
"""A small hub that speaks vestibule-feed(5): for tests, and to read before writing one's own.

    reference_hub.py put  STATE '{"account": {"name": "alice"}}' ...     adds or replaces rows ("-": lines of stdin)
    reference_hub.py gone STATE '{"account": {"name": "alice"}}' ...     takes rows away
    reference_hub.py serve STATE --listen 127.0.0.1:8090 --token-file FILE [--tls-cert FILE --tls-key FILE]
                     [--start PROGRAM]    starts targets: POST /wake/NAME runs PROGRAM NAME

The state is an SQLite file. Every change gets the next number of one sequence, and the row keeps the number of its last
change: "what changed since N" is one indexed question. What is gone stays as a number with nothing behind it, so that
whoever asks later hears of it; `forget` drops those, and a cursor from before is answered with 410.
"""

import argparse
import base64
import gzip
import hashlib
import hmac
import json
import sqlite3
import ssl
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

TABLES = """
CREATE TABLE IF NOT EXISTS rows(
  kind INTEGER NOT NULL, id TEXT NOT NULL, seq INTEGER NOT NULL, account TEXT, target TEXT, gone INTEGER NOT NULL,
  body TEXT NOT NULL, PRIMARY KEY(kind, id)) WITHOUT ROWID;
CREATE UNIQUE INDEX IF NOT EXISTS rows_seq ON rows(seq);
CREATE INDEX IF NOT EXISTS rows_account ON rows(account);
CREATE INDEX IF NOT EXISTS rows_target ON rows(target);
CREATE TABLE IF NOT EXISTS state(one INTEGER PRIMARY KEY CHECK(one = 1), seq INTEGER NOT NULL, oldest INTEGER NOT NULL);
INSERT OR IGNORE INTO state VALUES(1, 0, 0);
"""

# In the order in which a whole answer has them: who is named stands before who names.
KINDS = ["account", "target", "key", "grant"]
MAX_WAIT = 55
MAX_LIMIT = 10_000


def open_state(path):
    db = sqlite3.connect(path, timeout=20, isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.executescript(TABLES)
    return db


def identity(kind, row):
    """What tells a row from others of its kind, and whose it is: (id, account, target)."""
    if kind == "account":
        return row["name"], row["name"], None
    if kind == "target":
        return row["name"], None, row["name"]
    account, target = row.get("account"), row.get("target")
    owner = f"{account or ''}\n{target or ''}"
    if kind == "grant":
        return owner, account, target
    # A key is its base64, whatever options and comment stand around it.
    blob = next((word for word in row["key"].split() if word.startswith("AAAA")), row["key"])
    return f"{owner}\n{blob}", account, target


def change(db, lines, gone):
    """Puts rows, or takes them away, all of them or none."""
    db.execute("BEGIN IMMEDIATE")
    (seq,) = db.execute("SELECT seq FROM state").fetchone()
    for line in lines:
        ((kind, row),) = json.loads(line).items()
        ident, account, target = identity(kind, row)
        seq += 1
        db.execute(
            "INSERT OR REPLACE INTO rows VALUES(?, ?, ?, ?, ?, ?, ?)",
            (KINDS.index(kind), ident, seq, account, target, int(gone), json.dumps({kind: row})),
        )
    db.execute("UPDATE state SET seq = ?", (seq,))
    db.execute("COMMIT")


def forget(db):
    """Drops what is gone for good; cursors from before don't count any more."""
    db.execute("BEGIN IMMEDIATE")
    db.execute("DELETE FROM rows WHERE gone")
    db.execute("UPDATE state SET oldest = seq")
    db.execute("COMMIT")


def pack(*values):
    return base64.urlsafe_b64encode(json.dumps(values).encode()).decode().rstrip("=")


def unpack(token):
    try:
        return json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    except ValueError:
        return None


def gone_lines(db, body):
    """A row that is gone. Keys go all at once, and those that are left come again: whoever asks need not know how a hub
    tells keys apart."""
    ((kind, row),) = json.loads(body).items()
    if kind in ("account", "target"):
        return [json.dumps({"gone": {kind: row["name"]}})]
    if kind == "grant":
        return [json.dumps({"gone": {"grant": {"account": row["account"], "target": row["target"]}}})]
    whose = "account" if row.get("account") else "target"
    left = db.execute(
        f"SELECT body FROM rows WHERE kind = ? AND {whose} = ? AND NOT gone", (KINDS.index("key"), row[whose])
    )
    return [json.dumps({"gone": {f"keys_of_{whose}": row[whose]}})] + [body for (body,) in left]


class Gone(Exception):
    """The cursor, or the page, is not known (any more)."""


def whole(db, limit, page):
    """A page of everything: in the order of the primary key. The cursor is the sequence as the first page found it, so
    what changes between the pages comes again with the next changes."""
    kind, ident, cursor = page or [0, "", db.execute("SELECT seq FROM state").fetchone()[0]]
    rows = db.execute(
        "SELECT kind, id, body FROM rows WHERE (kind, id) > (?, ?) AND NOT gone ORDER BY kind, id LIMIT ?",
        (kind, ident, limit),
    ).fetchall()
    lines = ['{"feed": 1, "kind": "whole"}'] + [body for _, _, body in rows]
    if len(rows) == limit:
        return lines + [json.dumps({"next": pack("whole", rows[-1][0], rows[-1][1], cursor)})]
    return lines + [json.dumps({"end": {"cursor": pack("at", cursor)}})]


def changes(db, limit, since):
    """A page of what changed after `since`, in that order."""
    (seq, oldest) = db.execute("SELECT seq, oldest FROM state").fetchone()
    if not oldest <= since <= seq:
        raise Gone
    rows = db.execute(
        "SELECT seq, gone, body FROM rows WHERE seq > ? ORDER BY seq LIMIT ?", (since, limit)
    ).fetchall()
    lines = ['{"feed": 1, "kind": "changes"}']
    for _, gone, body in rows:
        lines += gone_lines(db, body) if gone else [body]
    if len(rows) == limit:
        return lines + [json.dumps({"next": pack("changes", rows[-1][0])})]
    return lines + [json.dumps({"end": {"cursor": pack("at", seq)}})]


def one(db, column, name):
    """Everything about one account or target."""
    rows = db.execute(
        f"SELECT body FROM rows WHERE {column} = ? AND NOT gone ORDER BY kind, id", (name,)
    ).fetchall()
    return ['{"feed": 1, "kind": "one"}'] + [body for (body,) in rows] + ['{"end": {}}']


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # A client that says nothing for so long is let go.
    timeout = 120

    def log_message(self, *_):
        pass

    def is_allowed(self):
        given = self.headers.get("Authorization", "")
        return hmac.compare_digest(given.encode(), f"Bearer {self.server.token}".encode())

    def do_POST(self):
        """A target is to be started. 202 until the program has ended: whoever wants to know asks again."""
        hub = self.server
        name = unquote(self.path.removeprefix("/wake/"))
        if not self.is_allowed():
            return self.answer(401, b"")
        db = open_state(hub.state)
        known = db.execute("SELECT 1 FROM rows WHERE kind = 1 AND id = ? AND NOT gone", (name,)).fetchone()
        db.close()
        if not self.path.startswith("/wake/") or not hub.start or not known:
            return self.answer(404, b"")
        with hub.lock:
            program = hub.starting.get(name)
            if program is None:
                hub.starting[name] = subprocess.Popen([hub.start, name], stdin=subprocess.DEVNULL)
                return self.answer(202, b"")
            if program.poll() is None:
                return self.answer(202, b"")
            del hub.starting[name]
        return self.answer(204 if program.returncode == 0 else 409, b"")

    def do_GET(self):
        hub = self.server
        if not self.is_allowed():
            return self.answer(401, b"")
        url = urlsplit(self.path)
        if url.path != hub.path:
            return self.answer(404, b"")
        query = {name: values[-1] for name, values in parse_qs(url.query).items()}
        db = open_state(hub.state)
        try:
            lines = self.lines(db, query)
        except Gone:
            return self.answer(410, b"")
        except (ValueError, TypeError):
            return self.answer(400, b"")
        finally:
            db.close()
        if lines is None:
            return self.answer(204, b"")
        body = "".join(line + "\n" for line in lines).encode()
        etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        if self.headers.get("If-None-Match") == etag:
            return self.answer(304, b"", [("ETag", etag)])
        return self.answer(200, body, [("ETag", etag), ("Content-Type", "application/x-ndjson")])

    def lines(self, db, query):
        limit = min(max(int(query.get("limit", MAX_LIMIT)), 1), MAX_LIMIT)
        if "page" in query:
            page = unpack(query["page"])
            if page and page[0] == "whole":
                return whole(db, limit, page[1:])
            if page and page[0] == "changes":
                return changes(db, limit, page[1])
            raise Gone
        if "account" in query:
            return one(db, "account", query["account"])
        if "target" in query:
            return one(db, "target", query["target"])
        if "cursor" not in query:
            return whole(db, limit, None)
        cursor = unpack(query["cursor"])
        if not cursor or cursor[0] != "at":
            raise Gone
        end = time.monotonic() + min(int(query.get("wait", 0)), MAX_WAIT)
        while True:
            lines = changes(db, limit, cursor[1])
            if len(lines) > 2:
                return lines
            # Nothing between the first line and the last.
            if time.monotonic() >= end:
                return None
            time.sleep(0.05)

    def answer(self, status, body, headers=()):
        headers = list(headers)
        if body and "gzip" in self.headers.get("Accept-Encoding", ""):
            body = gzip.compress(body, 1)
            headers.append(("Content-Encoding", "gzip"))
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        if status not in (204, 304):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Hub(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64


def serve(args):
    open_state(args.state).close()
    host, _, port = args.listen.rpartition(":")
    server = Hub((host, int(port)), Handler)
    server.state, server.path = args.state, args.path
    server.start, server.starting, server.lock = args.start, {}, threading.Lock()
    with open(args.token_file, encoding="ascii") as file:
        server.token = file.readline().strip()
    if args.tls_cert:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(args.tls_cert, args.tls_key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    server.serve_forever()


def main():
    parser = argparse.ArgumentParser(description="A small hub that speaks vestibule-feed(5).")
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("put", "gone"):
        command = commands.add_parser(name)
        command.add_argument("state")
        command.add_argument("row", nargs="+")
    commands.add_parser("forget").add_argument("state")
    command = commands.add_parser("serve")
    command.add_argument("state")
    command.add_argument("--listen", default="127.0.0.1:8090")
    command.add_argument("--path", default="/feed")
    command.add_argument("--token-file", required=True)
    command.add_argument("--tls-cert")
    command.add_argument("--tls-key")
    command.add_argument("--start", metavar="PROGRAM")
    args = parser.parse_args()
    if args.command == "serve":
        serve(args)
    elif args.command == "forget":
        forget(open_state(args.state))
    else:
        lines = sys.stdin if args.row == ["-"] else args.row
        change(open_state(args.state), lines, gone=args.command == "gone")


if __name__ == "__main__":
    main()
