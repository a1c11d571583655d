"""A worker's side of the hand-off folder: how a training or inference process takes a task and reports on it.

```python
with wait_for_task() as task:
    train, held = task.samples().split({"train": 0.8, "eval": 0.2}, seed=7).values()
    for epoch in range(10):
        loss = step(train, float(task.parameters["rate"]))
        task.report({"loss": loss}, progress=10 * epoch, samples=len(train))
    task.complete({"accuracy": evaluate(held)}, samples=len(train))
```

The folder is the whole contract, so any language may do the same: the agent writes `task.json`, the worker renames
files into `reports/` (docs/edge.md). It needs no port and no agent that runs: what is reported while agent, broker
or cloud are away arrives when they are back.
Within: `task` is what a worker holds, `reports` writes. Neighbours: `edge.tasks` is the agent's side, `protocol.work`
says what a report may hold, `split` gives the samples.
"""

from neptune.edge.worker.task import (
    FOLDER_VARIABLE,
    Part,
    ReportNotWritten,
    Task,
    TaskDataset,
    TaskModel,
    TaskOver,
    TaskUnreadable,
    wait_for_task,
)

__all__ = [
    "FOLDER_VARIABLE",
    "Part",
    "ReportNotWritten",
    "Task",
    "TaskDataset",
    "TaskModel",
    "TaskOver",
    "TaskUnreadable",
    "wait_for_task",
]
