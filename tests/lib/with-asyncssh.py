#!/usr/bin/python3
"""What a program that uses asyncssh sees of a session. Usage: with-asyncssh.py LOGIN KEY DIRECTORY [shell]

DIRECTORY is where files may be written. With `shell` commands are tried too: there must be a shell. Ends with a traceback
at the first thing that is not as it should be.
"""

import asyncio
import os
import sys
import tempfile

import asyncssh


async def commands(connection: asyncssh.SSHClientConnection) -> None:
    """Commands, ten at once on one connection, and one that dies of a signal."""
    one = await connection.run("cat; echo complaint >&2; exit 7", input=b"\0\xff" * 500_000, encoding=None)
    assert (one.exit_status, one.stdout, one.stderr) == (7, b"\0\xff" * 500_000, b"complaint\n")
    ten = await asyncio.gather(*(connection.run(f"sleep 0.2; echo {n}; exit {n}") for n in range(10)))
    assert [(r.exit_status, r.stdout) for r in ten] == [(n, f"{n}\n") for n in range(10)]
    killed = await connection.run("kill -TERM $$")
    assert killed.exit_signal is not None and killed.exit_signal[0] == "TERM", killed.exit_signal


async def terminal(connection: asyncssh.SSHClientConnection) -> None:
    """A command on a terminal that changes its size, and ^C."""
    script = 'trap "stty size; exit 5" WINCH; stty size; echo is-$((40+2)); while :; do sleep 0.1; done'
    process = await connection.create_process(script, term_type="xterm", term_size=(91, 31))
    assert "31 91" in await process.stdout.readuntil("is-42")
    process.change_terminal_size(101, 41)
    assert "41 101" in await process.stdout.read()
    assert (await process.wait()).exit_status == 5
    script = 'trap "exit 6" INT; echo is-$((40+2)); while :; do sleep 0.1; done'
    process = await connection.create_process(script, term_type="xterm", term_size=(91, 31))
    await process.stdout.readuntil("is-42")
    process.stdin.write("\x03")
    assert (await process.wait()).exit_status == 6


async def files(connection: asyncssh.SSHClientConnection, directory: str) -> None:
    """SFTP, a whole directory there and back."""
    with tempfile.TemporaryDirectory() as here:
        os.makedirs(here + "/tree/deep")
        for n in range(50):
            with open(f"{here}/tree/deep/{n}", "wb") as file:
                file.write(os.urandom(10_000))
        async with connection.start_sftp_client() as sftp:
            await sftp.put(here + "/tree", directory + "/asyncssh", recurse=True)
            await sftp.get(directory + "/asyncssh", here + "/back", recurse=True)
            await sftp.rmtree(directory + "/asyncssh")
            assert not await sftp.exists(directory + "/asyncssh")
        for n in range(50):
            with open(f"{here}/tree/deep/{n}", "rb") as sent, open(f"{here}/back/deep/{n}", "rb") as got:
                assert sent.read() == got.read()


async def main() -> None:
    """Connects and tries everything."""
    login, key, directory = sys.argv[1:4]
    options = {"username": login, "client_keys": [key], "agent_path": None, "config": None}
    async with asyncssh.connect("bastion", known_hosts="/etc/ssh/ssh_known_hosts", **options) as connection:
        await files(connection, directory)
        if "shell" in sys.argv[4:]:
            await commands(connection)
            await terminal(connection)


asyncio.run(asyncio.wait_for(main(), 60))
