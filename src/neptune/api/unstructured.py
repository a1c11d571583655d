"""Objects of a kind that nobody wrote a class for: `Unstructured`, and `PartialObjectMetadata` for the metadata alone.

Invariant: there is one class for each `ResourceType`, so that everything that takes a class (client, cache,
controller) takes these as well. Neighbours: `meta` has their base; `runtime.client` asks the server for metadata only
when it sees a `PartialObjectMetadata`.
"""

from __future__ import annotations

import copyreg
from functools import cache
from typing import Any, ClassVar, Self

from pydantic import ConfigDict

from neptune.api.meta import Resource, ResourceType


class Unstructured(Resource):
    """An object whose fields besides the metadata are plain JSON, reached by their JSON names.

    >>> Deployment = Unstructured.of(ResourceType("apps", "v1", "Deployment", "deployments"))
    >>> deployment = Deployment.from_dict({"metadata": {"name": "a"}, "spec": {"replicas": 1}})
    >>> deployment["spec"]["replicas"] = 3
    >>> deployment.merge_patch()
    {'spec': {'replicas': 3}}
    """

    @classmethod
    def of(cls, resource: ResourceType) -> type[Self]:
        """Return the class of a kind; the same one for the same kind."""
        return _class_for(cls, resource)  # type: ignore[return-value]  # `cache` knows nothing of Self

    def __getitem__(self, name: str) -> Any:
        return (self.model_extra or {})[name]

    def __setitem__(self, name: str, value: Any) -> None:
        setattr(self, name, value)

    def __contains__(self, name: str) -> bool:
        return name in (self.model_extra or {})

    def get(self, name: str, default: Any = None) -> Any:
        """Return a field by its JSON name, or `default`."""
        return (self.model_extra or {}).get(name, default)


class PartialObjectMetadata(Resource):
    """The metadata of an object, and nothing else of it: read a kind for its labels, owners or names at a tenth of
    the memory and the traffic. It can be patched and deleted; not created, nor updated, since that would empty it.

    Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#metadata-only-fetches.
    """

    #: What a server sends that knows no metadata-only answers is not kept.
    model_config: ClassVar[ConfigDict] = ConfigDict(extra="ignore")

    @classmethod
    def of(cls, kind: type[Resource] | ResourceType) -> type[Self]:
        """Return the metadata-only class of a kind; the same one for the same kind."""
        resource = kind if isinstance(kind, ResourceType) else kind.resource
        return _class_for(cls, resource)  # type: ignore[return-value]  # `cache` knows nothing of Self

    def model_post_init(self, _context: Any, /) -> None:
        """Name the kind that the metadata is of; the server says PartialObjectMetadata instead."""
        self.__dict__ |= {"api_version": self.resource.api_version, "kind": self.resource.kind}


class _Made(type(Resource)):  # type: ignore[misc]  # pydantic's metaclass, by the way that lasts
    """The classes that `of` makes, which no module has a name for: pickle makes them anew by what made them."""


@cache
def _class_for(base: type[Resource], resource: ResourceType) -> type[Resource]:
    return _Made(resource.kind, (base,), {"__module__": base.__module__, "resource": resource})


def _reduce(cls: type[Resource]) -> str | tuple[Any, ...]:
    base = cls.__base__
    if base is not None and _class_for(base, cls.resource) is cls:
        return _class_for, (base, cls.resource)
    return cls.__qualname__  # a subclass that somebody wrote, and that its module has a name for


copyreg.pickle(_Made, _reduce)
