"""A webhook's receiver that costs as little as it can, so that the relay is what is measured.

usage: receiver.py <how>

`count` answers 200 and counts records; `silent` takes connections and requests and never answers. Prints its port, then the
number of records so far whenever a line comes in.
"""

import asyncio
import sys

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
received = 0


async def serve(reader, writer):
    global received
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            body = await reader.readexactly(length)
            if sys.argv[1] == "silent":
                await asyncio.sleep(3600)
            received += body.count(b'"destination":')
            writer.write(ANSWER)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=1 << 20)
    print(server.sockets[0].getsockname()[1], flush=True)
    loop = asyncio.get_running_loop()
    loop.add_reader(sys.stdin, lambda: print(received, flush=True) if sys.stdin.readline() else loop.stop())
    await asyncio.Event().wait()


try:
    asyncio.run(main())
except RuntimeError:  # stopped by the end of standard input
    pass
