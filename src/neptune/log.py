"""Structured logs: constant events with keys, JSON when standard error is not a terminal.

One `configure` a process, called by the command line. Standard-library loggers are bridged, so that a library's
warning looks like ours. Imports structlog only: the edge agent shares this module.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO


@contextmanager
def _hidden(name: str) -> Iterator[None]:
    """Make a module that is not imported yet look as if it were not installed."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]  # what the language's reference has for this
    try:
        yield
    finally:
        del sys.modules[name]


# structlog imports rich where it is installed, for tracebacks that nobody here asks for: 5 MB, and a tenth of a start.
# Who wants them in a program of their own imports structlog before neptune.
with _hidden("rich"):
    import structlog

#: Keys whose values are never printed, whoever logs them.
SECRET_KEYS = frozenset({"password", "token", "authorization", "secret", "client_key"})
_MASK = "***"


def _mask_secrets(_logger: Any, _name: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    for key in SECRET_KEYS & event.keys():
        event[key] = _MASK
    return event


def configure(*, level: str = "info", stream: TextIO | None = None, json: bool | None = None) -> None:
    """Send every log line of this process to `stream` (standard error by default).

    Args:
        level: the lowest level that is printed: debug, info, warning or error.
        stream: where lines go.
        json: True for one JSON object a line, False for columns; by default JSON unless `stream` is a terminal.
    """
    out = stream or sys.stderr
    as_json = not out.isatty() if json is None else json
    number = logging.getLevelNamesMapping()[level.upper()]
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _mask_secrets,
    ]
    # Plain tracebacks even where rich was imported before.
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer(sort_keys=True)
        if as_json
        else structlog.dev.ConsoleRenderer(colors=out.isatty(), exception_formatter=structlog.dev.plain_traceback)
    )
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(file=out),
        # A program that is told to reload may configure another level.
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(number, logging.WARNING))


def get_logger(**bound: Any) -> Any:
    """Return a logger that carries `bound` on each line.

    Lazy on purpose: a module may ask for its logger at import, before `configure` has run.
    """
    return structlog.get_logger(**bound)
