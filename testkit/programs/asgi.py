"""A server behind ASGI (uvicorn) that asks another one (by httpx) for each request:
asgi.py PORT SOCKETS prints its port. It asks over kept connections, SOCKETS at most.
/now/ID asks for /now/ID before it does anything else, /later/ID after 5 to 20 ms,
/apart/ID in a task of its own."""

import asyncio
import random
import socket
import sys

import httpx
import uvicorn

PORT, SOCKETS = int(sys.argv[1]), int(sys.argv[2])
client = httpx.AsyncClient(limits=httpx.Limits(max_connections=SOCKETS), timeout=30)


async def ask(path):
    await client.get(f"http://127.0.0.1:{PORT}{path}")


async def application(scope, receive, send):
    path = scope["path"]
    if path.startswith("/later/"):
        await asyncio.sleep(random.uniform(0.005, 0.02))
    if path.startswith("/apart/"):
        await asyncio.gather(ask(path))
    else:
        await ask(path)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello\n"})


listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
print(listener.getsockname()[1], flush=True)
config = uvicorn.Config(application, lifespan="off", log_level="warning")
uvicorn.Server(config).run(sockets=[listener])
