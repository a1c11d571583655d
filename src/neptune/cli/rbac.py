"""`neptune rbac`: the role that the controllers of a module need, derived from what they watch. Nothing is run.

Invariant: the same module gives the same bytes, and no right that the controllers' declaration does not call for:
what a reconcile function does beside it is for its author to add.
Neighbours: `runtime.manager` tells what its controllers use.
"""

from __future__ import annotations

import argparse
import copy
import sys
from collections.abc import Iterable
from typing import Any

import yaml

from neptune.cli.main import DONE
from neptune.cli.modules import load
from neptune.errors import SettingsError
from neptune.runtime.leader import LeaderElection
from neptune.runtime.manager import Manager, Use
from neptune.runtime.query import Query

READ = ("get", "list", "watch")
#: Subresources and verbs of each use.
VERBS: dict[Use, dict[str, tuple[str, ...]]] = {
    "reconciles": {"": READ, "/status": ("get", "update", "patch")},
    "watches": {"": READ},
    "owns": {"": (*READ, "create", "update", "patch", "delete")},
    # For blockOwnerDeletion, where OwnerReferencesPermissionEnforcement is on, as in OpenShift.
    "controls": {"/finalizers": ("update",)},
    "finalizes": {"": (*READ, "patch")},
}
Rules = dict[str, Any]
#: What `runtime.leader` and `runtime.events` send.
LEASES: Rules = {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "create", "update"]}
EVENTS: Rules = {"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch"]}


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
    manager = _manager(module, variable)
    name = options.name or module.rpartition(".")[2].replace("_", "-").lower()
    sys.stdout.write(
        "---\n".join(
            yaml.safe_dump(role, sort_keys=False) for role in roles(name, manager.uses, manager.leader_election)
        )
    )
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


def roles(
    name: str, uses: Iterable[tuple[Use, Query[Any]]], election: LeaderElection | None = None
) -> list[dict[str, Any]]:
    """Return a role a namespace where all uses keep to namespaces, and one ClusterRole otherwise.

    The lease of an election that names no namespace is in that of the pod, which may be any of them.
    """
    uses = list(uses)
    namespaces = sorted({query.namespace for _, query in uses})
    leases = [LEASES] if election else []
    if not namespaces or "" in namespaces:
        return [_role("ClusterRole", {"name": name}, [*_rules(uses), *leases, EVENTS])]
    found = []
    for space in namespaces:
        elects = election and election.namespace in ("", space)
        rules = [*_rules(use for use in uses if use[1].namespace == space), *(leases if elects else ()), EVENTS]
        found.append(_role("Role", {"name": name, "namespace": space}, rules))
    if election and election.namespace and election.namespace not in namespaces:
        found.append(_role("Role", {"name": name, "namespace": election.namespace}, leases))
    return found


def _rules(uses: Iterable[tuple[Use, Query[Any]]]) -> list[Rules]:
    verbs: dict[tuple[str, str], dict[str, None]] = {}
    for use, query in uses:
        resource = query.cls.resource
        for subresource, words in VERBS[use].items():
            verbs.setdefault((resource.group, resource.plural + subresource), {}).update(dict.fromkeys(words))
    return [
        {"apiGroups": [group], "resources": [plural], "verbs": [*words]} for (group, plural), words in verbs.items()
    ]


def _role(kind: str, metadata: dict[str, str], rules: Iterable[Rules]) -> dict[str, Any]:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": kind,
        "metadata": metadata,
        # Copies, since YAML would write the second of one object as a reference to the first.
        "rules": [copy.deepcopy(rule) for rule in rules],
    }
