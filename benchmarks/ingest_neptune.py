"""The cache of neptune alone. Says what `ingest` waits for: that it has listed, and that it has the object `last`."""

from __future__ import annotations

import asyncio
import signal

from neptune.api import Dataset
from neptune.runtime import Cache, Client
from neptune.runtime.informer import Change


def say(change: Change[Dataset]) -> None:
    if change.key.name == "last":
        print("done", flush=True)


async def main() -> None:
    client = Client()
    cache = Cache(client)
    cache.watch(Dataset).subscribe(say)
    running = asyncio.create_task(cache.run())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    await cache.wait_synced()
    print("synced", flush=True)
    await asyncio.wait([running])
    await client.close()


if __name__ == "__main__":
    asyncio.run(main())
