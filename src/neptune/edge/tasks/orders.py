"""What a worker gets to know of a task: the node's order, joined with the models and datasets that it names. Pure.

Invariant: a document is complete or not there at all: whoever reads `task.json` has everything that the work needs.
Neighbours: `protocol` section 7 has the order, `folder` writes the document, `docs/edge.md` is its reference.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from neptune.edge.problems import Reason
from neptune.protocol.messages import ConditionReport, DesiredObject, Json
from neptune.protocol.topics import is_node_name

#: Of `task.json`; a worker that does not know it should not start.
VERSION = 1

#: Finds an object of the node by kind, namespace and name.
Find = Callable[[str, str, str], DesiredObject | None]
#: Tells what was found at the present url of a dataset, by uid; None before anybody has looked there.
Standing = Callable[[str], ConditionReport | None]

#: Whoever may create a Dataset chooses its url: what the agent itself may not open is not for its workers.
_REFUSED = (Reason.OUTSIDE_ROOTS, Reason.BAD_URL)


class Waiting(Exception):
    """A task cannot be handed out yet; the text says what it waits for, for a person at the cluster."""


def document(
    item: DesiredObject, node: str, find: Find, samples_of: Callable[[str], int | None], standing: Standing
) -> Json:
    """Return what `task.json` says of a task. `samples_of` has the last counted number of a dataset, by uid.

    Raises:
        Waiting: a model or a dataset is not on the node yet, a dataset is none that the agent may open, or the order
            makes no sense.
    """
    check_names(item)
    roles, datasets, models = (_names(item, key) for key in ("roles", "datasets", "models"))
    part, work = item.spec.get("part"), item.spec.get("work")
    if not isinstance(part, (dict, type(None))) or not isinstance(work, dict):
        raise Waiting("the order cannot be understood: is edge-agent as new as cloud-controller?")
    found_models = [_found(find, "Model", item.namespace, name) for name in models]
    found_datasets = [_found(find, "Dataset", item.namespace, name) for name in datasets]
    for each in found_datasets:
        _check_standing(each, standing(each.uid))
    return {
        "version": VERSION,
        "kind": item.kind,
        "namespace": item.namespace,
        "name": item.name,
        "uid": item.uid,
        "generation": item.generation,
        "node": node,
        "roles": roles,
        "part": part,
        "work": work,
        "models": [_where(model) for model in found_models],
        "datasets": [{**_where(each), "samples": samples_of(each.uid)} for each in found_datasets],
    }


def check_names(item: DesiredObject) -> None:
    """Refuse a task whose names are no names of folders.

    Raises:
        Waiting: they are not as Kubernetes has them (RFC 1123), so they could lead anywhere.
    """
    if not is_node_name(item.namespace) or not is_node_name(item.name):
        raise Waiting("its namespace or name cannot be the name of a folder: this task is not handed out")


def says_the_same(one: Json, other: Json) -> bool:
    """Tell whether two documents ask for the same work: a number that was counted meanwhile makes no difference."""
    return _without_numbers(one) == _without_numbers(other)


def _without_numbers(found: Json) -> Json:
    datasets = found.get("datasets")
    if not isinstance(datasets, list):
        return found
    plain = [{**each, "samples": None} if isinstance(each, dict) else each for each in datasets]
    return {**found, "datasets": plain}


def _names(item: DesiredObject, key: str) -> list[str]:
    names = item.spec.get(key)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise Waiting("the order cannot be understood: is edge-agent as new as cloud-controller?")
    return names


def _found(find: Find, kind: str, namespace: str, name: str) -> DesiredObject:
    item = find(kind, namespace, name)
    if item is None:
        raise Waiting(f"waiting for {kind.lower()} {name}")
    return item


def _check_standing(dataset: DesiredObject, found: ConditionReport | None) -> None:
    if found is None:
        raise Waiting(f"waiting for a look at the data of dataset {dataset.name}")
    if is_refused(found):
        raise Waiting(f"dataset {dataset.name} is not handed out: {found.message}")


def is_refused(found: ConditionReport | None) -> bool:
    """Tell whether no worker gets the dataset of which that was found."""
    return found is not None and found.reason in _REFUSED


def _where(item: DesiredObject) -> dict[str, Any]:
    return {"name": item.name, "url": item.spec.get("url"), "format": item.spec.get("format")}
