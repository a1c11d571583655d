"""Failing watch: how many requests a contestant sends to a server whose watches do not work, and its CPU meanwhile.

Lists work. The faults of one contestant run at the same time, in front of one API server, each with a process of its
own; contestants run in turn. Requests are lists and watches, counted from the first watch on.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Mapping

from benchmarks.contestants import Contestant, Running, chosen, of_the_storm, python
from benchmarks.rows import Row, print_rows
from benchmarks.stage import Stage
from neptune.testing.faults import End, Fault, FaultProxy, Refuse, Stall, WatchError

FAULTS: Mapping[str, Fault] = {
    "403": Refuse(403),
    "410": WatchError(410),
    "500": Refuse(500),
    "empty stream": End(),
    "silence": Stall(),
}
FIRST_SECONDS, SECONDS = 3, 60
_COLLECTIONS = ("/datasets", "/configmaps")


async def main(only: str) -> None:
    # The official client's best case in the storm is a watch without an informer, which a failure ends.
    contestants = [each for each in of_the_storm() if each.name != "official client"]
    contestants.append(python("official client's informer", "failing_official.py"))
    rows: list[Row] = []
    for contestant in chosen(contestants, only):
        rows += [contestant.missing] if contestant.missing else await measure_all(contestant)
    for fault in FAULTS:
        of_fault = [row for row in rows if row.get("fault") in (fault, None)]
        to = ("controller-runtime", "official client's informer")
        print_rows("failing watch", of_fault, (f"requests_in_{SECONDS}_s",), to)


async def measure_all(contestant: Contestant) -> list[Row]:
    with Stage() as stage:
        async with stage.client():
            return await asyncio.gather(*(measure(stage, contestant, name) for name in FAULTS))


async def measure(stage: Stage, contestant: Contestant, name: str) -> Row:
    folder = stage.folder / name
    folder.mkdir()
    async with FaultProxy(stage.kubeconfig) as proxy:
        proxy.inject(FAULTS[name], verb="watch", times=None)
        with Running(contestant, proxy.write_kubeconfig(folder / "kubeconfig"), folder) as running:
            await running.until(lambda: bool(_watches(proxy)), "watch")
            began, spent = _watches(proxy)[0], running.cpu_seconds
            await asyncio.sleep(SECONDS)
            times = [at - began for at in _requests(proxy) if at >= began]
            watches = [at - began for at in _watches(proxy)]
            return {
                "contestant": contestant.name,
                "fault": name,
                f"watches_in_{FIRST_SECONDS}_s": sum(at < FIRST_SECONDS for at in watches),
                f"requests_in_{FIRST_SECONDS}_s": sum(at < FIRST_SECONDS for at in times),
                f"requests_in_{SECONDS}_s": sum(at < SECONDS for at in times),
                f"cpu_seconds_in_{SECONDS}_s": round(running.cpu_seconds - spent, 2),
            }


def _watches(proxy: FaultProxy) -> list[float]:
    return [each.at for each in proxy.seen if each.verb == "watch" and each.path.endswith(_COLLECTIONS)]


def _requests(proxy: FaultProxy) -> list[float]:
    return [each.at for each in proxy.seen if each.verb in ("watch", "list") and each.path.endswith(_COLLECTIONS)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="the names of some contestants, with commas between")
    asyncio.run(main(parser.parse_args().only))
