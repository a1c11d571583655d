"""Rights for the users of a test: roles and bindings made of a few rules.

Neighbours: `envtest` makes a user's certificate, the fixture `api_user` joins the two.
Source: https://kubernetes.io/docs/reference/access-authn-authz/rbac/.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from pydantic import Field

from neptune.api.meta import Json, ObjectMeta, Resource, ResourceType
from neptune.runtime.client import Client

RBAC = "rbac.authorization.k8s.io"


@dataclass(frozen=True, slots=True)
class Rule:
    """What may be done to what: API groups (empty for the core), resources such as `pods/log`, verbs. `*` is any."""

    groups: Sequence[str]
    resources: Sequence[str]
    verbs: Sequence[str]

    def to_dict(self) -> dict[str, Any]:
        """Return the rule as a role has it."""
        words = asdict(self)
        words["apiGroups"] = words.pop("groups")
        return words


class _Role(Resource):
    rules: list[Json] = Field(default_factory=list)


class _Binding(Resource):
    subjects: list[Json] = Field(default_factory=list)
    role_ref: Json = Field(default_factory=dict)


class Role(_Role):
    """Rights in a namespace."""

    resource: ClassVar[ResourceType] = ResourceType(RBAC, "v1", "Role", "roles")


class ClusterRole(_Role):
    """Rights in the whole cluster."""

    resource: ClassVar[ResourceType] = ResourceType(RBAC, "v1", "ClusterRole", "clusterroles", namespaced=False)


class RoleBinding(_Binding):
    """Gives the rights of a role in a namespace to users."""

    resource: ClassVar[ResourceType] = ResourceType(RBAC, "v1", "RoleBinding", "rolebindings")


class ClusterRoleBinding(_Binding):
    """Gives the rights of a role in the whole cluster to users."""

    resource: ClassVar[ResourceType] = ResourceType(
        RBAC, "v1", "ClusterRoleBinding", "clusterrolebindings", namespaced=False
    )


async def grant(client: Client, user: str, rules: Sequence[Rule], namespace: str = "") -> None:
    """Let a user do what the rules say, in a namespace or the whole cluster, and nothing that an earlier call said.

    Raises:
        ApiError: the server refuses a role.
    """
    role_cls, binding_cls = (Role, RoleBinding) if namespace else (ClusterRole, ClusterRoleBinding)
    metadata = ObjectMeta(namespace=namespace, name=f"test-{user}")
    role = role_cls(metadata=metadata, rules=[rule.to_dict() for rule in rules])
    await client.apply(role, force=True)
    binding = binding_cls(
        metadata=metadata,
        subjects=[{"kind": "User", "name": user, "apiGroup": RBAC}],
        role_ref={"kind": role_cls.resource.kind, "name": metadata.name, "apiGroup": RBAC},
    )
    await client.apply(binding, force=True)
