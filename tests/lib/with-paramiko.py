#!/usr/bin/python3
"""What a program that uses paramiko sees of a session. Usage: with-paramiko.py LOGIN KEY DIRECTORY [shell]

DIRECTORY is where files may be written. With `shell` commands are tried too: there must be a shell. Ends with a traceback
at the first thing that is not as it should be.
"""

import os
import sys
import time

import paramiko


def commands(client: paramiko.SSHClient) -> None:
    """Commands: their bytes, their status, and their end of input."""
    stdin, stdout, stderr = client.exec_command("cat; echo complaint >&2; exit 7", timeout=20)
    payload = bytes(range(256)) * 4096
    stdin.channel.sendall(payload)
    stdin.channel.shutdown_write()
    assert stdout.read() == payload
    assert stderr.read() == b"complaint\n"
    assert stdout.channel.recv_exit_status() == 7

    channels = []
    for number in range(8):
        channel = client.get_transport().open_session()
        channel.exec_command(f"sleep 0.2; exit {number}")
        channels.append(channel)
    assert [channel.recv_exit_status() for channel in channels] == list(range(8))


def terminal(client: paramiko.SSHClient) -> None:
    """A shell on a terminal that changes its size."""
    channel = client.invoke_shell(term="xterm", width=91, height=31)
    channel.settimeout(20)
    channel.sendall(b"stty size; echo is-$((40+2))\n")
    seen = until(channel, b"is-42")
    assert b"31 91" in seen, seen
    channel.resize_pty(width=101, height=41)
    # The window's change is not answered, so it is waited for.
    for _ in range(50):
        channel.sendall(b"stty size; echo again-$((40+2))\n")
        if b"41 101" in until(channel, b"again-42"):
            break
        time.sleep(0.1)
    else:
        raise AssertionError("the terminal kept its size")
    channel.sendall(b"exit 3\n")
    assert channel.recv_exit_status() == 3


def until(channel: paramiko.Channel, word: bytes) -> bytes:
    """Reads until a word comes."""
    seen = b""
    while word not in seen:
        chunk = channel.recv(4096)
        assert chunk, seen
        seen += chunk
    return seen


def files(client: paramiko.SSHClient, directory: str) -> None:
    """SFTP: with prefetching, as its users have it."""
    sftp = client.open_sftp()
    payload = os.urandom(3_000_000)
    path = directory + "/paramiko"
    with sftp.open(path, "wb") as file:
        file.set_pipelined(True)
        file.write(payload)
    with sftp.open(path, "rb") as file:
        file.prefetch()
        assert file.read() == payload
    sftp.chmod(path, 0o640)
    assert sftp.stat(path).st_mode & 0o777 == 0o640
    sftp.posix_rename(path, path + ".new")
    assert "paramiko.new" in sftp.listdir(directory)
    sftp.remove(path + ".new")


def main() -> None:
    """Connects and tries everything."""
    login, key, directory = sys.argv[1:4]
    client = paramiko.SSHClient()
    client.load_host_keys("/etc/ssh/ssh_known_hosts")
    client.connect("bastion", username=login, key_filename=key, allow_agent=False, look_for_keys=False, timeout=20)
    files(client, directory)
    if "shell" in sys.argv[4:]:
        commands(client)
        terminal(client)
    client.close()


main()
