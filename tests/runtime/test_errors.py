from __future__ import annotations

import json

import pytest

from neptune.runtime import errors
from neptune.runtime.errors import error_for, error_from_status


@pytest.mark.parametrize(
    ("code", "reason", "expected"),
    [
        (400, "BadRequest", errors.BadRequest),
        (401, "Unauthorized", errors.Unauthorized),
        (403, "Forbidden", errors.Forbidden),
        (404, "NotFound", errors.NotFound),
        (409, "Conflict", errors.Conflict),
        (409, "AlreadyExists", errors.AlreadyExists),
        (410, "Expired", errors.Gone),
        (422, "Invalid", errors.Invalid),
        (429, "TooManyRequests", errors.TooManyRequests),
        (500, "InternalError", errors.ServerError),
        (503, "ServiceUnavailable", errors.ServerError),
        (418, "Teapot", errors.ApiError),
    ],
)
def test_a_status_becomes_the_error_of_its_code(code: int, reason: str, expected: type[errors.ApiError]) -> None:
    body = {"kind": "Status", "code": code, "reason": reason, "message": "why", "details": {"name": "a"}}
    error = error_for(code, json.dumps(body).encode())
    assert type(error) is expected
    assert (error.status, error.reason, error.message, error.details) == (code, reason, "why", {"name": "a"})


def test_an_answer_that_is_no_status_still_names_its_code_and_shows_its_text() -> None:
    error = error_for(502, b"<html>bad gateway</html>")
    assert type(error) is errors.ServerError
    assert (error.status, error.message) == (502, "<html>bad gateway</html>")


def test_the_delay_comes_from_the_header_or_from_the_details() -> None:
    status = {"code": 429, "details": {"retryAfterSeconds": 3}}
    assert error_from_status(status).retry_after == 3
    assert error_for(429, b"", retry_after=2).retry_after == 2
