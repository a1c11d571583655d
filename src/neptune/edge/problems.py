"""Why a dataset is not counted: a reason for programs, and a message that tells a person what to do.

Neighbours: `paths`, `formats` and `counting` return a `Problem` where they cannot go on; `schedule` makes a condition
of it. The reasons are the node's share of `neptune.api.dataset.Reason`, compared by a test.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from enum import StrEnum

#: Longer names are cut in messages (characters): a person reads both ends, and a message has to fit the protocol.
_SHOWN = 300


class Reason(StrEnum):
    """The reasons that a node reports."""

    COUNTED = "Counted"
    COUNTING = "Counting"
    NOT_FOUND = "NotFound"
    NOT_A_FILE = "NotAFile"
    PERMISSION_DENIED = "PermissionDenied"
    OUTSIDE_ROOTS = "OutsideRoots"
    UNKNOWN_FORMAT = "UnknownFormat"
    BAD_URL = "BadUrl"
    READ_FAILED = "ReadFailed"
    TOO_LARGE = "TooLarge"
    DAMAGED = "Damaged"
    MISSING_LIBRARY = "MissingLibrary"
    COUNTING_FAILED = "CountingFailed"
    CREDENTIALS_FORBIDDEN = "CredentialsForbidden"
    CREDENTIALS_NOT_FOUND = "CredentialsNotFound"
    CREDENTIALS_INVALID = "CredentialsInvalid"
    CREDENTIALS_NEED_TLS = "CredentialsNeedTLS"
    CREDENTIALS_UNAVAILABLE = "CredentialsUnavailable"


@dataclass(frozen=True, slots=True)
class Problem:
    """What is in the way."""

    reason: Reason
    message: str

    @property
    def finding(self) -> str:
        """The message without what an agent does next, which stands behind a semicolon."""
        return self.message.partition("; ")[0]


def shown(name: str) -> str:
    """Return a name fit for a message: valid Unicode without control characters, cut in the middle when long."""
    text = name.encode("utf-8", "replace").decode()
    if not text.isprintable():
        text = "".join(char if char.isprintable() else "?" for char in text)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN // 2]}...{text[-_SHOWN // 2 :]}"


def problem_of(error: OSError, path: str) -> Problem:
    """Return what an error of the operating system on `path` means for its dataset."""
    name = shown(path)
    match error.errno:
        case errno.ENOENT | errno.ENOTDIR:
            return Problem(Reason.NOT_FOUND, f"{name} does not exist on this node; it is counted when it appears")
        case errno.EACCES | errno.EPERM:
            user = f"the agent's user (uid {os.geteuid()})"
            return Problem(Reason.PERMISSION_DENIED, f"{user} may not read {name}: give it read permission")
        case errno.ENXIO:
            return not_a_file(path, "a device or a socket")
        case errno.ENAMETOOLONG:
            return Problem(Reason.BAD_URL, f"{name} is longer than this node's file system allows")
    cause = error.strerror or type(error).__name__
    return Problem(Reason.READ_FAILED, f"{name} cannot be read: {cause}; trying again")


def unexpected(error: Exception) -> Problem:
    """Return the problem of an error that nobody thought of."""
    return Problem(
        Reason.READ_FAILED, shown(f"{type(error).__name__}: {error}; this is a fault of edge-agent, report it")
    )


def not_a_file(path: str, kind: str) -> Problem:
    """Return the problem of a path that names something else."""
    return Problem(Reason.NOT_A_FILE, f"{shown(path)} is {kind}: give the path of a regular file")
