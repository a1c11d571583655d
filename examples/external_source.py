"""A controller that is fed from outside Kubernetes: lines `NAMESPACE/NAME NUMBER` on its standard input."""

import asyncio
import sys

from neptune.api import Dataset, ResourceKey
from neptune.runtime import Mailbox, Manager

counts: Mailbox[int] = Mailbox()  # keeps the newest number of each key until it is written


async def reconcile(ctx, key):
    number, dataset = counts.peek(key), ctx.cache.get(Dataset, key)
    if number is None or dataset is None:
        return
    dataset.status.number_of_samples = number
    await ctx.client.status.patch(dataset)
    counts.discard(key, number)  # after the write: a failed one is made again


async def listen():
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async for line in reader:
        name, number = line.decode().split()
        counts.put(ResourceKey(*name.split("/")), int(number))


manager = Manager()
manager.controller(Dataset, reconcile, sources=[counts])
manager.add(listen)
if __name__ == "__main__":
    manager.run()
