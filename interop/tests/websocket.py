"""Python's websockets, as the peer of tests/websocket.rs.

`websocket.py client URI` talks with an echo server; `websocket.py server` is one, and prints its port.
It ends with an error if anything is not as it should be.
"""

import asyncio
import hashlib
import os
import sys

import websockets

TOTAL = 100 * 1024 * 1024
PIECE = 1024 * 1024
SETTINGS = {"max_size": None, "compression": None, "ping_interval": None, "close_timeout": 60}


async def small_and_large(socket):
    for size in [0, 1, 125, 126, 65535, 65536, 20 * 1024 * 1024]:
        data = os.urandom(size)
        await socket.send(data)
        assert await socket.recv() == data, size
    text = "größer, 大きい, 🙂 " * 50_000
    await socket.send(text)
    assert await socket.recv() == text


async def fragments(socket):
    # Each element is a fragment of one message. An empty one is allowed.
    pieces = [os.urandom(size) for size in [1, 0, 1000, 100_000, 3]]
    await socket.send(iter(pieces))
    assert await socket.recv() == b"".join(pieces)
    await socket.send(["frag", "ment", "s"])
    assert await socket.recv() == "fragments"


async def pings(socket):
    for number in range(100):
        await asyncio.wait_for(await socket.ping(str(number)), 60)
    # Between the fragments of a message too.
    async def with_a_ping():
        yield "before "
        await asyncio.wait_for(await socket.ping(), 60)
        yield "after"

    await socket.send(with_a_ping())
    assert await socket.recv() == "before after"


async def through(socket):
    sent, received = hashlib.sha256(), hashlib.sha256()

    async def send():
        for _ in range(TOTAL // PIECE):
            piece = os.urandom(PIECE)
            sent.update(piece)
            await socket.send(piece)

    async def receive():
        for _ in range(TOTAL // PIECE):
            received.update(await socket.recv())

    await asyncio.gather(send(), receive())
    assert sent.digest() == received.digest()


async def client(uri):
    async with websockets.connect(uri, **SETTINGS) as socket:
        for part in [small_and_large, fragments, pings, through]:
            await asyncio.wait_for(part(socket), 240)
            print(part.__name__)
        await socket.close(4001, "that is all")
    assert (socket.close_code, socket.close_reason) == (4001, "that is all")

    # The server begins the end.
    async with websockets.connect(uri, **SETTINGS) as socket:
        await socket.send("please close")
        await socket.wait_closed()
    assert (socket.close_code, socket.close_reason) == (4002, "as you say")
    print("closed")


async def echo(socket, _path=None):
    async for message in socket:
        pong = await socket.ping()
        if len(message) < 1000:
            # Behind long messages the pong may lie in the kernel, and those wait for this.
            await pong
        # In two fragments, unless it is too short.
        half = len(message) // 2
        await socket.send([message[:half], message[half:]] if half else message)


async def server():
    async with websockets.serve(echo, "127.0.0.1", 0, **SETTINGS) as listening:
        print(listening.sockets[0].getsockname()[1], flush=True)
        await asyncio.sleep(600)


asyncio.run(client(sys.argv[2]) if sys.argv[1] == "client" else server())
