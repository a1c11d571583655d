from __future__ import annotations

import asyncio
import gzip
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neptune.runtime.connection import MAX_HEAD_BYTES, Answer, Broken, Connection, field, request_head
from tests.runtime.widgets import eventually
from tests.runtime.wire import Script, chunked, head_of, ok, sends, serving

GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
IDLE_SECONDS = 10.0


@asynccontextmanager
async def connected(script: Script) -> AsyncIterator[Connection]:
    async with serving(script) as port:
        gone = asyncio.Event()
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(lambda: Connection(lambda _: gone.set()), "127.0.0.1", port)
        try:
            yield connection
        finally:
            connection.abort()
            await asyncio.wait_for(gone.wait(), 5)


async def ask(script: Script) -> Answer:
    async with asyncio.timeout(5), connected(script) as connection:
        return await connection.ask(GET)


async def read_into(came: bytearray, connection: Connection, idle_seconds: float = IDLE_SECONDS) -> None:
    while part := await connection.read(idle_seconds):
        came += part


async def whole(connection: Connection) -> bytes:
    came = bytearray()
    await read_into(came, connection)
    return bytes(came)


WHOLE = {
    "length": ok(b"0123456789"),
    "chunked": chunked(b"01234", b"5", b"6789"),
    "odd chunks": b"HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n"
    b"005;a=b\r\n01234\r\n5\r\n56789\r\n0\r\nT: r\r\n\r\n",
    "until close": b"HTTP/1.1 200 OK\r\n\r\n0123456789",
    "until close, 1.0": b"HTTP/1.0 200 OK\r\n\r\n0123456789",
    "after interim answers": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nX: y\r\n\r\n" + ok(b"0123456789"),
}


@pytest.mark.parametrize("name", WHOLE)
async def test_an_answer_comes_whole_however_it_is_framed(name: str) -> None:
    answer = await ask(sends(WHOLE[name]))
    assert (answer.status, answer.body) == (200, b"0123456789")


@pytest.mark.parametrize("name", WHOLE)
async def test_an_answer_that_is_cut_anywhere_is_broken_and_never_a_shorter_one(name: str) -> None:
    full = WHOLE[name]
    head = full.rindex(b"\r\n\r\n") + 4 if "until" in name else len(full)
    for length in range(head):
        with pytest.raises(Broken) as broken:
            await ask(sends(full[:length]))
        assert broken.value.answered == (length > 0)
        assert broken.value.sent


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
async def test_an_answer_without_content_ends_with_its_head(status: str) -> None:
    async with connected(sends(f"HTTP/1.1 {status}\r\n\r\n".encode(), ok(b"next"), hold=True)) as connection:
        assert (await connection.ask(GET)).body == b""
        assert (await connection.ask(GET)).body == b"next"


class Wire(asyncio.Transport):
    """Takes what is written, and has nothing to say."""

    closing = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        pass

    def is_closing(self) -> bool:
        return self.closing

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        pass

    resume_reading = pause_reading

    def abort(self) -> None:
        self.closing = True


async def result(pieces: list[bytes], *, streams: bool) -> object:
    """Return what somebody who asks hears when a peer sends these pieces and closes the connection."""
    connection = Connection(lambda _: None)
    connection.connection_made(Wire())
    asking = asyncio.create_task(connection.ask(GET, streams=streams))
    await asyncio.sleep(0)
    for piece in pieces:
        connection.data_received(piece)
    connection.eof_received()
    connection.connection_lost(None)
    try:
        answer = await asking
        body = await whole(connection) if streams and answer.status < 300 else answer.body
    except Broken as error:
        return error.answered, error.status
    return answer.status, answer.headers, body


SENT = [
    *WHOLE.values(),
    ok(b"x" * 300, "Retry-After: 3", "Warning: 299 - one", "Warning: 299 - two"),
    chunked(b'{"type":"ADDED"}\n', b'{"type":', b'"MODIFIED"}\n'),
    b"HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n",
    chunked(b"01234")[:-3],
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n01\r\n0\r\n\r\n",
    b"HTTP/1.1 20x OK\r\n\r\n",
    b"SSH-2.0-OpenSSH_9.2\r\n",
]


@given(st.sampled_from(SENT), st.lists(st.integers(0, 400)), st.booleans())
def test_the_result_is_the_same_however_the_bytes_are_cut(sent: bytes, cuts: list[int], streams: bool) -> None:
    ends = sorted({cut for cut in cuts if cut < len(sent)} | {len(sent)})
    pieces = [sent[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    by_bytes = [sent[at : at + 1] for at in range(len(sent))]
    results = [asyncio.run(result(each, streams=streams)) for each in (pieces, [sent], by_bytes)]
    assert results[0] == results[1] == results[2]


GARBAGE = {
    "another protocol": b"SSH-2.0-OpenSSH_9.2\r\n",
    "HTTP/2": b"\x00\x00\x12\x04\x00\x00\x00\x00\x00",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "a length and chunks": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    "a header without a colon": b"HTTP/1.1 200 OK\r\nnonsense\r\n\r\n",
    "another protocol from now on": b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
}


@pytest.mark.parametrize("name", GARBAGE)
async def test_what_is_no_http_is_refused_at_once(name: str) -> None:
    with pytest.raises(Broken, match="is a proxy on the way") as broken:
        await ask(sends(GARBAGE[name], hold=True))
    assert broken.value.answered


async def asked_and_read(connection: Connection, *, streams: bool) -> bytes:
    answer = await connection.ask(GET, streams=streams)
    return await whole(connection) if streams else answer.body


ENDLESS = {
    "line": (b"HTTP/1.1 200 O", b"K" * 1000),
    "header": (b"HTTP/1.1 200 OK\r\nX: ", b"y" * 1000),
    "headers": (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 100),
    "trailer": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: ", b"y" * 1000),
    "chunk extension": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;a=", b"y" * 1000),
}


@pytest.mark.parametrize("name", ENDLESS)
@pytest.mark.parametrize("streams", [False, True])
async def test_a_head_or_trailers_without_end_are_refused(name: str, *, streams: bool) -> None:
    start, more = ENDLESS[name]

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(start)
        while True:
            writer.write(more)
            await writer.drain()

    async with asyncio.timeout(5), connected(script) as connection:
        with pytest.raises(Broken, match=f"longer than {MAX_HEAD_BYTES} bytes"):
            await asked_and_read(connection, streams=streams)


async def test_a_connection_carries_one_request_after_the_other() -> None:
    async with connected(sends(ok(b"one"), chunked(b"tw", b"o"), ok(b"three"), hold=True)) as connection:
        assert [(await connection.ask(GET)).body for _ in range(3)] == [b"one", b"two", b"three"]
        assert connection.usable


CLOSING = {
    "connection: close": ok(b"0123456789", "Connection: close"),
    "version 1.0": b"HTTP/1.0 200 OK\r\nContent-Length: 10\r\n\r\n0123456789",
    "more than was asked for": ok(b"0123456789") + ok(b"injected"),
    "half an answer more": ok(b"0123456789") + b"HT",
}


@pytest.mark.parametrize("name", CLOSING)
async def test_an_answer_after_which_no_other_can_be_trusted_is_the_last(name: str) -> None:
    async with connected(sends(CLOSING[name], hold=True)) as connection:
        assert (await connection.ask(GET)).body == b"0123456789"
        assert not connection.usable
        with pytest.raises(Broken) as broken:
            await connection.ask(GET)
        assert not broken.value.sent


async def test_an_answer_that_comes_before_it_is_asked_for_is_nobodys() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(ok(b"one"))
        await asyncio.sleep(0.05)
        writer.write(ok(b"injected"))
        await reader.read()

    async with connected(script) as connection:
        assert (await connection.ask(GET)).body == b"one"
        await eventually(lambda: not connection.usable)


async def test_an_answer_before_the_whole_request_is_sent_is_taken_and_is_the_last() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
        await asyncio.Event().wait()

    async with connected(script) as connection:
        size = 50_000_000
        answer = await connection.ask(b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size)
        assert (answer.status, answer.body, connection.usable) == (413, b"no", False)


async def test_a_connection_that_the_server_closed_is_not_usable() -> None:
    async with connected(sends(ok(b"one"))) as connection:
        assert (await connection.ask(GET)).body == b"one"
        await eventually(lambda: not connection.usable)


async def test_who_is_cancelled_leaves_a_closed_connection() -> None:
    closed = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        closed.set()

    async with connected(script) as connection:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(connection.ask(GET), 0.05)
        assert not connection.usable
        await asyncio.wait_for(closed.wait(), 5)


async def test_a_stream_gives_what_came_before_it_broke_and_then_breaks() -> None:
    async with connected(sends(chunked(b"one\n", b"two\n")[:-5])) as connection:
        assert (await connection.ask(GET, streams=True)).status == 200
        came = bytearray()
        with pytest.raises(Broken, match="before the answer was complete"):
            await read_into(came, connection)
        assert came == b"one\ntwo\n"


async def test_a_refusal_of_a_stream_comes_whole() -> None:
    refusal = b"HTTP/1.1 410 Gone\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nold\r\n0\r\n\r\n"
    async with connected(sends(refusal, ok(b"next"), hold=True)) as connection:
        answer = await connection.ask(GET, streams=True)
        assert (answer.status, answer.body) == (410, b"old")
        assert (await connection.ask(GET)).body == b"next"


async def test_a_stream_that_ended_leaves_a_connection_that_is_good_for_more() -> None:
    async with connected(sends(chunked(b"one"), ok(b"two"), hold=True)) as connection:
        await connection.ask(GET, streams=True)
        assert await whole(connection) == b"one"
        assert (await connection.ask(GET)).body == b"two"


async def test_silence_is_counted_from_when_somebody_waits() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(10):
            writer.write(b"1\r\nx\r\n")
            await asyncio.sleep(0.1)
        await reader.read()

    async with connected(script) as connection:
        await connection.ask(GET, streams=True)
        await asyncio.sleep(0.4)  # longer than the limit, but nobody waits
        came = bytearray()
        with pytest.raises(TimeoutError):
            await read_into(came, connection, 0.25)
        assert came == b"x" * 10
        assert not connection.usable


async def test_a_stream_that_nobody_reads_takes_bounded_memory_and_loses_nothing() -> None:
    size, chunk = 40_000_000, b"x" * 100_000
    written = 0

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        await head_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while written < size:
            writer.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
            await writer.drain()
            written += len(chunk)
        writer.write(b"0\r\n\r\n")
        await reader.read()

    async with connected(script) as connection:
        await connection.ask(GET, streams=True)
        tracemalloc.start()
        await asyncio.sleep(0.3)  # as much as comes, comes now
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert written < size
        assert peak < 3_000_000
        assert len(await whole(connection)) == size


async def test_gzip_is_undone_and_anything_else_refused() -> None:
    packed = await ask(sends(ok(gzip.compress(b"hello"), "Content-Encoding: gzip")))
    assert packed.decoded().body == b"hello"
    assert (await ask(sends(ok(b"hello")))).decoded().body == b"hello"
    for bad in (ok(gzip.compress(b"hello")[:-3], "Content-Encoding: gzip"), ok(b"hello", "Content-Encoding: br")):
        with pytest.raises(Broken):
            (await ask(sends(bad))).decoded()


@pytest.mark.parametrize("value", ["a\r\nX: y", "a\nb", "a\rb", "a\0b", "a\x7fb", "\u0141"])
def test_a_header_that_would_be_two_or_none_is_not_made(value: str) -> None:
    with pytest.raises(ValueError, match="Authorization") as raised:
        field("Authorization", value)
    assert value not in str(raised.value)


@pytest.mark.parametrize("target", ["/a b", "/a\r\nX: y", "/a HTTP/1.1\r\n\r\n", "/\u00e9", "/\0"])
def test_a_target_that_would_end_the_request_line_is_not_sent(target: str) -> None:
    with pytest.raises(ValueError, match="percent-encoded"):
        request_head("GET", target, "")


async def test_the_bytes_of_a_request_are_those_of_rfc_9112() -> None:
    seen = bytearray()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.extend(await reader.readuntil(b"\r\n\r\n"))
        writer.write(ok(b""))

    async with connected(script) as connection:
        await connection.ask(request_head("GET", "/a?b=c%20d", field("Host", "[::1]:6443")).encode())
    assert bytes(seen) == b"GET /a?b=c%20d HTTP/1.1\r\nHost: [::1]:6443\r\n\r\n"
