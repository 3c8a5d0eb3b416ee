"""A server on one event loop (aiohttp) that asks another one for each request:
loop.py PORT SOCKETS prints its port. It asks over kept connections, SOCKETS at most.
/now/ID asks for /now/ID before it does anything else, /later/ID after 5 to 20 ms."""

import asyncio
import random
import sys

import aiohttp
from aiohttp import web

PORT, SOCKETS = int(sys.argv[1]), int(sys.argv[2])


async def main():
    connector = aiohttp.TCPConnector(limit=SOCKETS)
    session = aiohttp.ClientSession(connector=connector)

    async def handle(request):
        if request.path.startswith("/later/"):
            await asyncio.sleep(random.uniform(0.005, 0.02))
        async with session.get(f"http://127.0.0.1:{PORT}{request.path}") as answer:
            await answer.read()
        return web.Response(text="hello\n")

    app = web.Application()
    app.router.add_get("/{tail:.*}", handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(site._server.sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
