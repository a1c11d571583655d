"""The agent's side of a hand-off folder, as far as a worker can tell."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

TASK: dict[str, Any] = {
    "version": 1, "kind": "FederatedTask", "namespace": "shop", "name": "digits", "uid": "u-1", "generation": 1,
    "node": "edge0", "roles": ["participant"], "part": {"index": 0, "of": 3}, "work": {"parameters": {"rounds": "5"}},
    "models": [{"name": "digits", "url": "/models/digits", "format": "npz"}],
    "datasets": [{"name": "digits-0", "url": "/data/digits-0.txt", "format": "txt", "samples": 600}],
}  # fmt: skip


class Folder:
    """A task's folder; `put` is what the agent does when the task comes or changes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.reports = path / "reports"

    def put(self, **changes: Any) -> None:
        self.reports.mkdir(parents=True, exist_ok=True)
        part = self.path / ".task.json"
        part.write_text(json.dumps({**TASK, **changes}))
        part.replace(self.path / "task.json")

    def put_dataset(self, url: str, **changes: Any) -> None:
        self.put(datasets=[{**TASK["datasets"][0], "url": url, **changes}])

    def names(self) -> list[str]:
        """What has its name, and is whole; a worker may be writing besides."""
        return sorted(path.name for path in self.reports.glob("[!.]*"))

    def waiting(self) -> list[dict[str, Any]]:
        """What nobody has taken yet, in order."""
        return [json.loads((self.reports / name).read_text()) for name in self.names()]

    def take(self) -> list[dict[str, Any]]:
        found = self.waiting()
        for name in self.names():
            (self.reports / name).unlink()
        return found
