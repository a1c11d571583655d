"""The question of a node for the credentials of one of its objects, and the answer. `credentials` has the rules.

A module of its own, so that what must not be kept or shown is named in one place.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class GetCredentials:
    """A node needs the credentials of this object. `encrypted`: all its connections to the broker are over TLS."""

    TYPE: ClassVar[str] = "credentials.get"
    uid: str
    encrypted: bool


@dataclass(frozen=True, slots=True)
class CredentialsResult:
    """The answer: the values by the keys of the Secret. None where the `code` in the header is not 200."""

    TYPE: ClassVar[str] = "credentials.result"
    uid: str
    values: dict[str, str] = field(default_factory=dict, repr=False)


CredentialBody = GetCredentials | CredentialsResult
