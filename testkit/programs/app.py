"""A web application with a thread per connection: app.py PG_PORT REDIS_PORT
prints its port. /t/K asks PostgreSQL for table tK and Redis with its K-th
command; /fail has PostgreSQL fail; anything else is answered at once."""

import http.server
import socket
import struct
import sys
import threading

PG_PORT, REDIS_PORT = int(sys.argv[1]), int(sys.argv[2])
COMMANDS = ["GET", "EXISTS", "TTL", "STRLEN", "TYPE", "PTTL", "DUMP", "GETDEL"]


def connect(port):
    stream = socket.create_connection(("127.0.0.1", port))
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return stream


class Postgres:
    """The simple query protocol, version 3."""

    def __init__(self):
        self.stream = connect(PG_PORT)
        self.reader = self.stream.makefile("rb")
        words = b"user\0postgres\0database\0postgres\0\0"
        self.stream.sendall(struct.pack("!ii", len(words) + 8, 196608) + words)
        self.until_ready()

    def until_ready(self):
        failed = False
        while True:
            kind, length = struct.unpack("!ci", self.reader.read(5))
            self.reader.read(length - 4)
            if kind == b"E":
                failed = True
            if kind == b"Z":
                return not failed

    def query(self, text):
        text = text.encode() + b"\0"
        self.stream.sendall(b"Q" + struct.pack("!i", len(text) + 4) + text)
        return self.until_ready()


class Redis:
    """RESP2, for commands with short answers."""

    def __init__(self):
        self.stream = connect(REDIS_PORT)
        self.reader = self.stream.makefile("rb")

    def ask(self, *words):
        parts = [b"*%d\r\n" % len(words)]
        for word in words:
            parts.append(b"$%d\r\n%s\r\n" % (len(word), word.encode()))
        self.stream.sendall(b"".join(parts))
        line = self.reader.readline()
        if line[:1] == b"$" and line != b"$-1\r\n":
            self.reader.read(int(line[1:]) + 2)


local = threading.local()


def clients():
    if not hasattr(local, "postgres"):
        local.postgres, local.redis = Postgres(), Redis()
    return local.postgres, local.redis


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def do_GET(self):
        words = self.path.split("?")[0].split("/")
        status = 200
        if words[1] == "t":
            postgres, redis = clients()
            number = int(words[2])
            postgres.query(f"SELECT v FROM t{number} WHERE v <> 'secret'")
            redis.ask(COMMANDS[number % len(COMMANDS)], f"key-{number}")
        elif words[1] == "fail":
            postgres, _ = clients()
            postgres.query("SELECT 1 / 0")
            status = 500
        body = b"hello\n"
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True


server = Server(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
try:
    server.serve_forever()
except KeyboardInterrupt:
    pass
