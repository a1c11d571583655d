from __future__ import annotations

import asyncio

import pytest

from neptune.runtime.loop import run


def test_a_connection_that_was_closed_amid_its_handshake_is_no_error_and_the_rest_is(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        closed = RuntimeError("unable to perform operation on <TCPTransport closed=True>; the handler is closed")
        loop.call_exception_handler({"message": "Fatal error on SSL protocol", "exception": closed})
        loop.call_exception_handler({"message": "real", "exception": ValueError("no")})

    run(main())
    assert [record.getMessage().splitlines()[0] for record in caplog.records] == ["real"]
