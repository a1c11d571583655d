"""Tasks: work that goes to nodes with its models, and whose reports come back into its status.

Any kind may be one: implement `TaskKind` for it and give it to `CloudController(task_kinds=...)`. In the order of what
stands on what: `kind` is the protocol; `shares`, `metrics` and `federated` are the first kind of it; `placement` says
who has what; `inbox` and `reconciler` bring the reports to the status; `setup` puts them together.
docs/tasks.md is the guide.
"""

from neptune.controllers.tasks.federated import FederatedTasks
from neptune.controllers.tasks.kind import Note, Part, Plan, TaskKind, View
from neptune.controllers.tasks.metrics import weighted_mean
from neptune.controllers.tasks.shares import reports_of, share_of

__all__ = [
    "FederatedTasks",
    "Note",
    "Part",
    "Plan",
    "TaskKind",
    "View",
    "reports_of",
    "share_of",
    "weighted_mean",
]
