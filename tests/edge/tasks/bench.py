"""Tasks for an agent, and words for playing their worker."""

from __future__ import annotations

import itertools
import json
import os
import time
from pathlib import Path
from typing import Any

from neptune.protocol.messages import DesiredObject, WorkReport
from tests.edge.bench import NODE, Cloud

_counter = itertools.count()


def task(
    *, uid: str = "t1", generation: int = 1, kind: str = "FederatedTask", name: str = "digits", namespace: str = "shop",
    **order: Any,
) -> DesiredObject:  # fmt: skip
    known = {"roles": ["participant"], "datasets": ["part"], "models": ["m"], "part": {"index": 0, "of": 3}}
    spec = {**known, "work": {"parameters": {"rounds": "5"}}, **order}
    return DesiredObject(kind, namespace, name, uid, generation, spec, f"hash-{uid}-{generation}")


def lone_task(**values: Any) -> DesiredObject:
    """Return a task that needs nothing else."""
    return task(datasets=[], models=[], **values)


def model(
    *, uid: str = "m1", url: str = "s3://models/m", generation: int = 1, namespace: str = "shop"
) -> DesiredObject:
    return DesiredObject("Model", namespace, "m", uid, generation, {"url": url, "format": "npz"})


def part(url: str, *, uid: str = "d1", namespace: str = "shop") -> DesiredObject:
    return DesiredObject("Dataset", namespace, "part", uid, 1, {"url": url, "format": "txt", "nodeName": NODE})


def folder(base: Path, name: str = "digits", namespace: str = "shop") -> Path:
    return base / "state" / "tasks" / namespace / name


def said(base: Path, name: str = "digits") -> dict[str, Any]:
    """Return what `task.json` says, and nothing while it is not there."""
    try:
        found: dict[str, Any] = json.loads((folder(base, name) / "task.json").read_text())
    except FileNotFoundError:
        return {}
    return found


def report(
    place: Path, state: str = "Running", *, name: str | None = None, text: str | None = None, **more: Any
) -> str:
    """Write a report as a worker does; return its id."""
    report_id = name or f"{time.time_ns()}-{os.getpid()}-{next(_counter):06}"
    fresh = place / "reports" / f".tmp-{report_id}"
    fresh.write_text(json.dumps({"state": state, "generation": 1, **more}) if text is None else text)
    fresh.rename(place / "reports" / f"{report_id}.json")
    return report_id


def work(cloud: Cloud, uid: str = "t1") -> WorkReport:
    """Return the newest report that the cloud has of a task; one of nothing while it has none."""
    found = cloud.latest.get(uid)
    return (found.work if found else None) or WorkReport("", "", "")


def works(cloud: Cloud, uid: str = "t1") -> list[WorkReport]:
    """Return every report of a task that came, in order."""
    return [each.work for each in cloud.reports if each.uid == uid and each.work is not None]


def waiting(place: Path) -> list[str]:
    """Return the reports that were not taken yet."""
    return sorted(path.name for path in (place / "reports").iterdir())
