"""`neptune rbac`: the role that the controllers of a module need, derived from what they watch. Nothing is run.

Invariant: the same module gives the same bytes, and no right that the controllers' declaration does not call for:
what a reconcile function does beside it is for its author to add.
Neighbours: `runtime.manager` tells what its controllers use.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from typing import Any

import yaml

from neptune.cli.main import DONE
from neptune.cli.modules import load
from neptune.errors import SettingsError
from neptune.runtime.manager import Manager, Use
from neptune.runtime.query import Query

READ = ("get", "list", "watch")
VERBS: dict[Use, tuple[str, ...]] = {
    "reconciles": READ,
    "watches": READ,
    "owns": (*READ, "create", "update", "patch", "delete"),
    "finalizes": (*READ, "patch"),
}
#: For leader election, and for the events that controllers record.
COMMON: tuple[dict[str, Any], ...] = (
    {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "create", "update", "patch"]},
    {"apiGroups": ["", "events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch"]},
)


def add_parser(commands: Any) -> None:
    """Add `rbac` to the subcommands of `neptune`."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "rbac",
        help="print the role that the controllers of a module need",
        description="Print the role that the controllers of a Manager need: neptune rbac myapp | kubectl apply -f -. "
        "The module is imported, so it must start its manager under `if __name__ == '__main__':` only.",
    )
    parser.add_argument("module", metavar="MODULE[:MANAGER]", help="by default the one Manager in the module")
    parser.add_argument("--name", metavar="NAME", help="of the role; by default the module's")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the roles; return the exit code.

    Raises:
        SettingsError: the module cannot be imported, or has not the one Manager.
    """
    module, _, variable = options.module.partition(":")
    uses = _manager(module, variable).uses
    name = options.name or module.rpartition(".")[2].replace("_", "-").lower()
    sys.stdout.write("---\n".join(yaml.safe_dump(role, sort_keys=False) for role in roles(name, uses)))
    return DONE


def _manager(module: str, variable: str) -> Manager:
    values: dict[str, object] = vars(load(module))
    if variable:
        values = {variable: values.get(variable)}
    found = {name: value for name, value in values.items() if isinstance(value, Manager)}
    if len(found) != 1:
        names = ", ".join(found) or "no Manager"
        raise SettingsError(
            f"{module} has {names}{f' called {variable}' if variable else ''}: name the one that is meant, as "
            f"{module}:manager, and make it when the module is imported"
        )
    return next(iter(found.values()))


def roles(name: str, uses: Iterable[tuple[Use, Query[Any]]]) -> list[dict[str, Any]]:
    """Return a role a namespace where all uses keep to namespaces, and one ClusterRole otherwise."""
    uses = list(uses)
    namespaces = sorted({query.namespace for _, query in uses})
    if not namespaces or "" in namespaces:
        return [_role("ClusterRole", {"name": name}, uses)]
    return [
        _role("Role", {"name": name, "namespace": space}, [use for use in uses if use[1].namespace == space])
        for space in namespaces
    ]


def _role(kind: str, metadata: dict[str, str], uses: Iterable[tuple[Use, Query[Any]]]) -> dict[str, Any]:
    verbs: dict[tuple[str, str], dict[str, None]] = {}
    for use, query in uses:
        resource = query.cls.resource
        verbs.setdefault((resource.group, resource.plural), {}).update(dict.fromkeys(VERBS[use]))
        if use == "reconciles":
            status = (resource.group, f"{resource.plural}/status")
            verbs.setdefault(status, {}).update(dict.fromkeys(("get", "update", "patch")))
    rules = [
        {"apiGroups": [group], "resources": [plural], "verbs": [*words]} for (group, plural), words in verbs.items()
    ]
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": kind,
        "metadata": metadata,
        "rules": [*rules, *(dict(rule) for rule in COMMON)],
    }
