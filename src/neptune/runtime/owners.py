"""Owner references: which object another one belongs to, and is deleted with.

Invariant: an object has at most one controller, and an owner is where garbage collection will find it: in the same
namespace, or in none. Neighbours: `mappers` finds the owner of a child that changed; reconcilers mark what they create.
Rules: SetControllerReference in controller-runtime, pkg/controller/controllerutil/controllerutil.go.
"""

from __future__ import annotations

from neptune.api.meta import OwnerReference, Resource
from neptune.runtime.errors import TerminalError
from neptune.runtime.query import describe


class AlreadyOwned(TerminalError):
    """The object has another controller, which would undo what this one does; the message names both."""


def controller_of(child: Resource) -> OwnerReference | None:
    """Return the reference to the object that controls this one, or None."""
    return next((reference for reference in child.metadata.owner_references if reference.controller), None)


def is_controlled_by(child: Resource, owner: Resource) -> bool:
    """Tell whether `owner` controls `child`: this very object, not another that had its name before."""
    reference = controller_of(child)
    return reference is not None and reference.uid == owner.metadata.uid


def set_controller_ref(owner: Resource, child: Resource) -> None:
    """Make `owner` the controller of `child`: `owns=` then finds it, and garbage collection deletes it with its owner.

    `create` or `apply` the child afterwards: `client.apply(child)` creates it, or brings it to what it should be.

    Raises:
        AlreadyOwned: another object controls the child.
        ValueError: the owner has no uid (it was not read from a server), or lives where its child may not look.
    """
    if not owner.metadata.uid:
        raise ValueError(f"{_name(owner)} has no uid: read the owner from the cache or the server before it owns")
    if owner.metadata.namespace and owner.metadata.namespace != child.metadata.namespace:
        raise ValueError(f"{_name(owner)} cannot own {_name(child)}: an owner is in the same namespace, or in none")
    current = controller_of(child)
    if current is not None and current.uid != owner.metadata.uid:
        raise AlreadyOwned(f"{_name(child)} is controlled by {current.kind} {current.name}, not by {_name(owner)}")
    reference = OwnerReference(
        api_version=owner.api_version,
        kind=owner.kind,
        name=owner.metadata.name,
        uid=owner.metadata.uid,
        controller=True,
        block_owner_deletion=True,
    )
    others = [item for item in child.metadata.owner_references if item.uid != owner.metadata.uid]
    child.metadata.owner_references = [*others, reference]


def _name(obj: Resource) -> str:
    return f"{describe(type(obj))} {obj.key}"
