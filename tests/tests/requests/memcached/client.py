"""Talks to memcached in its three protocols, a known number of times, with a key
of its own for each request; says what it asked for and what memcached counted."""

import collections
import json
import socket
import struct
import sys

PORT, ROUNDS = int(sys.argv[1]), int(sys.argv[2])
asked = collections.Counter()


class Connection:
    def __init__(self):
        self.socket = socket.create_connection(("127.0.0.1", PORT))
        self.file = self.socket.makefile("rb")

    def send(self, data):
        self.socket.sendall(data)

    def line(self):
        return self.file.readline().rstrip()


def statistics():
    connection = Connection()
    connection.send(b"stats\r\n")
    found = {}
    while (words := connection.line().decode().split()) != ["END"]:
        found[words[1]] = words[2]
    return {name: int(value) for name, value in found.items() if value.isdigit()}


def text():
    connection = Connection()

    def say(command, expected, data=None):
        asked[command.split()[0]] += 1
        data = "" if data is None else data + "\r\n"
        connection.send(f"{command}\r\n{data}".encode())
        if expected is None:
            return
        while (line := connection.line().decode()).startswith("VALUE"):
            connection.line()
        assert line.startswith(expected), (command, line)

    for n in range(ROUNDS):
        key = f"secret-text-{n}"
        say(f"set {key} 0 0 6", "STORED", "hidden")
        say(f"get {key}", "END")
        say(f"get {key}-none", "END")
        say(f"gets {key} {key}-none {key}", "END")
        say(f"add {key} 0 0 1", "NOT_STORED", "x")
        say(f"append {key} 0 0 1", "STORED", "x")
        say(f"incr {key} 1", "CLIENT_ERROR")
        say(f"set {key}-n 0 0 1 noreply", None, "1")
        say(f"incr {key}-n 5", "6")
        say(f"decr {key}-none 5", "NOT_FOUND")
        say(f"touch {key} 100", "TOUCHED")
        say(f"delete {key}", "DELETED")
        say(f"delete {key}", "NOT_FOUND")


def meta():
    connection = Connection()
    for n in range(ROUNDS):
        key = f"secret-meta-{n}"
        commands = [
            (f"ms {key} 6\r\nhidden", b"HD"),
            (f"mg {key} v", b"VA 6"),
            (f"mg {key}-none v", b"EN"),
            (f"ma {key}-none", b"NF"),
            (f"md {key}", b"HD"),
            (f"md {key}", b"NF"),
        ]
        for command, expected in commands:
            asked[command.split()[0]] += 1
            connection.send(f"{command}\r\n".encode())
            line = connection.line()
            assert line.startswith(expected), (command, line)
            if line.startswith(b"VA"):
                connection.line()
        # Of three quiet ones the second is answered, and says so.
        connection.send(
            f"ms {key} 1 q\r\n1\r\n"
            f"mg {key}-1 v q O1\r\nmg {key} v q O2\r\nmg {key}-3 v q O3\r\nmn\r\n".encode()
        )
        asked.update(["ms", "mg", "mg", "mg", "mn"])
        assert connection.line() == b"VA 1 O2"
        connection.line()
        assert connection.line() == b"MN"


def binary():
    connection = Connection()
    number = 0

    def request(opcode, key, value=b"", extras=b""):
        nonlocal number
        number += 1
        body = extras + key + value
        return (
            struct.pack(
                ">BBHBBHIIQ", 0x80, opcode, len(key), len(extras), 0, 0, len(body), number, 0
            )
            + body
        )

    def answer():
        header = connection.file.read(24)
        connection.file.read(struct.unpack(">I", header[8:12])[0])
        return header[1], struct.unpack(">H", header[6:8])[0]

    for n in range(ROUNDS):
        key = f"secret-binary-{n}".encode()
        for name, opcode, key_, value, extras, status in [
            ("set", 1, key, b"hidden", bytes(8), 0),
            ("get", 0, key, b"", b"", 0),
            ("get", 0, key + b"-none", b"", b"", 1),
            ("add", 2, key, b"x", bytes(8), 2),
            ("incr", 5, key, b"", bytes(20), 6),
            ("delete", 4, key, b"", b"", 0),
            ("delete", 4, key, b"", b"", 1),
        ]:
            asked[name] += 1
            connection.send(request(opcode, key_, value, extras))
            assert answer() == (opcode, status), (name, n)
        # SETQ, GETQ of what isn't there and of what is, NOOP.
        connection.send(
            request(0x11, key, b"x", bytes(8))
            + request(9, key + b"-none")
            + request(9, key)
            + request(10, b"")
        )
        asked.update(["set", "get", "get", "noop"])
        assert answer() == (9, 0)
        assert answer() == (10, 0)


before = statistics()
text()
meta()
binary()
after = statistics()
counted = {name: after[name] - before.get(name, 0) for name in after}
print(json.dumps({"asked": asked, "counted": counted}))
