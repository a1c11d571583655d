"""From a url to a regular file below the agent's roots.

Whoever may create a Dataset chooses the url, so nothing is opened that lies outside the roots once symbolic links and
`..` are resolved, and nothing that could block or act when opened (a FIFO, a device).
Neighbours: `counting` opens what `resolve` returns; `problems` has the refusals.
"""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote

from neptune.edge.problems import Problem, Reason, not_a_file, problem_of, shown

_HINT = "give an absolute path, or file:// and an absolute path"
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_KINDS = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def path_of(url: object) -> str | Problem:
    """Return the absolute path that `url` names. RFC 8089 with an empty host or `localhost`; a plain path as it is."""
    if not isinstance(url, str) or not url:
        return Problem(Reason.BAD_URL, f"spec.url is missing: {_HINT}")
    if url.startswith("/"):
        path = url
    else:
        scheme = _SCHEME.match(url)
        if scheme is None:
            return Problem(Reason.BAD_URL, f"{shown(url)} is a relative path: {_HINT}")
        if scheme[1].lower() != "file":
            return Problem(Reason.BAD_URL, f"{shown(url)}: this agent does not read {scheme[1]} urls; {_HINT}")
        found = _path_of_file_url(url)
        if isinstance(found, Problem):
            return found
        path = found
    return path if _is_encodable(path) else Problem(Reason.BAD_URL, f"{shown(url)} is no name of a file: {_HINT}")


def _is_encodable(path: str) -> bool:
    """Tell whether a file can have that name: no NUL, and nothing that the encoding of this system lacks."""
    try:
        return b"\0" not in os.fsencode(path)
    except UnicodeEncodeError:
        return False


def _path_of_file_url(url: str) -> str | Problem:
    rest = url[len("file:") :]
    host, slash, tail = rest[2:].partition("/")
    if not rest.startswith("//") or not slash or host.lower() not in ("", "localhost"):
        return Problem(Reason.BAD_URL, f"{shown(url)} names no file on this node: {_HINT}")
    if _BAD_ESCAPE.search(tail) or "?" in tail or "#" in tail:
        return Problem(Reason.BAD_URL, f"{shown(url)}: write %25 for %, %3F for ? and %23 for # in a file:// url")
    return "/" + unquote(tail, encoding=sys.getfilesystemencoding(), errors="surrogateescape")


def resolve(url: object, roots: Sequence[str]) -> str | Problem:
    """Return the path that `url` names, without symbolic links and `..`, when it lies below one of `roots`.

    The roots are resolved as well, each time: a root may be a link or a mount that comes later.
    """
    path = path_of(url)
    if isinstance(path, Problem):
        return path
    real = os.path.realpath(path)
    if any(_is_below(real, os.path.realpath(root)) for root in roots):
        return real
    name = shown(path) if real == os.path.normpath(path) else f"{shown(path)} leads to {shown(real)}, which"
    verb = "is" if real == os.path.normpath(path) else "lies"
    return Problem(
        Reason.OUTSIDE_ROOTS,
        f"{name} {verb} outside the agent's roots ({shown(', '.join(roots))}): "
        f"start edge-agent with --root {shown(str(Path(real).parent))}",
    )


def _is_below(path: str, root: str) -> bool:
    return path == root or path.startswith(root.rstrip("/") + "/")


def stat_file(path: str) -> os.stat_result | Problem:
    """Return the stat of a resolved path when it names a regular file."""
    try:
        info = os.lstat(path)
    except OSError as error:
        return problem_of(error, path)
    return _regular(info, path)


def open_file(path: str) -> int | Problem:
    """Open a resolved path for reading and return its descriptor. Never blocks, and never follows a link.

    It is looked at before, because opening a device can act, and after, because it may have been replaced meanwhile.
    """
    info = stat_file(path)
    if isinstance(info, Problem):
        return info
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        return problem_of(error, path)
    found = _regular(os.fstat(fd), path)
    if isinstance(found, Problem):
        os.close(fd)
        return found
    return fd


def _regular(info: os.stat_result, path: str) -> os.stat_result | Problem:
    if stat.S_ISREG(info.st_mode):
        return info
    kind = next((kind for is_kind, kind in _KINDS if is_kind(info.st_mode)), "not a regular file")
    return not_a_file(path, kind)
