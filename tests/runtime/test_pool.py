from __future__ import annotations

import asyncio
import gc
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from neptune.certs import KeyPair
from neptune.runtime.connection import Broken, request_head
from neptune.runtime.loop import new_event_loop
from neptune.runtime.pool import Address, Pool, Way, address
from neptune.testing.certs import Authority
from tests.runtime.widgets import eventually
from tests.runtime.wire import Script, chunked, head_of, ok, sends, serving


def way_to(port: int, scheme: str = "http", **rest: object) -> Way:
    return replace(Way(address(f"{scheme}://127.0.0.1:{port}")), **rest)  # type: ignore[arg-type]  # any of its fields


async def ask(pool: Pool, way: Way, method: str = "GET", path: str = "/") -> bytes:
    request = request_head(method, way.target(path), way.head_fields()).encode()
    return (await pool.ask(way, method, request))[0].body


@asynccontextmanager
async def pooled() -> AsyncIterator[Pool]:
    pool = Pool()
    try:
        yield pool
    finally:
        await pool.close()


class Counting:
    """Counts the connections that a script serves, those that are open, and the requests."""

    def __init__(self, *scripts: Script) -> None:
        self.opened = self.open = 0
        self._scripts = scripts

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        script = self._scripts[min(self.opened, len(self._scripts) - 1)]
        self.opened += 1
        self.open += 1
        try:
            await script(reader, writer)
        finally:
            self.open -= 1


async def test_a_connection_is_used_again_and_a_second_one_only_at_the_same_time() -> None:
    server = Counting(sends(*[ok(b"x")] * 9, hold=True))
    async with serving(server) as port, pooled() as pool:
        way = way_to(port)
        for _ in range(3):
            assert await ask(pool, way) == b"x"
        assert server.opened == 1
        await asyncio.gather(ask(pool, way), ask(pool, way))
        assert server.opened == 2


async def test_a_connection_that_the_server_closed_meanwhile_is_not_used() -> None:
    server = Counting(sends(ok(b"x")))
    async with serving(server) as port, pooled() as pool:
        for count in (1, 2, 3):
            assert await ask(pool, way_to(port), "POST") == b"x"
            assert server.opened == count
            await eventually(lambda: server.open == 0)
            await eventually(lambda: not pool._open)  # the end of it has come here


async def hangs_up(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await head_of(reader)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_an_idempotent_request_without_an_answer_is_sent_once_more_on_a_new_connection(method: str) -> None:
    server = Counting(hangs_up, sends(ok(b"x"), hold=True))
    async with serving(server) as port, pooled() as pool:
        assert await ask(pool, way_to(port), method) == b"x"
        assert server.opened == 2
    server = Counting(hangs_up)
    async with serving(server) as port, pooled() as pool:
        with pytest.raises(Broken, match="before an answer came"):
            await ask(pool, way_to(port), method)
        assert server.opened == 2


@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_a_request_that_may_have_been_carried_out_is_not_sent_again(method: str) -> None:
    server = Counting(hangs_up)
    async with serving(server) as port, pooled() as pool:
        with pytest.raises(Broken):
            await ask(pool, way_to(port), method)
        assert server.opened == 1


async def test_a_request_that_got_a_part_of_an_answer_is_not_sent_again() -> None:
    server = Counting(sends(ok(b"0123")[:-1]))
    async with serving(server) as port, pooled() as pool:
        with pytest.raises(Broken) as broken:
            await ask(pool, way_to(port))
        assert (server.opened, broken.value.status) == (1, 200)


async def test_a_cancelled_request_closes_its_connection_and_no_other() -> None:
    server = Counting(sends(ok(b"x"), hold=True), sends(ok(b"y"), ok(b"y"), hold=True))
    async with serving(server) as port, pooled() as pool:
        way = way_to(port)
        assert await ask(pool, way) == b"x"
        silent = asyncio.create_task(ask(pool, way))
        await asyncio.sleep(0)
        assert await ask(pool, way) == b"y"
        silent.cancel()
        await eventually(lambda: server.open == 1)
        assert (await ask(pool, way), server.opened) == (b"y", 2)


async def test_an_idle_connection_is_closed_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("neptune.runtime.pool.IDLE_SECONDS", 0.05)
    server = Counting(sends(*[ok(b"x")] * 99, hold=True))
    async with serving(server) as port, pooled() as pool:
        way = way_to(port)
        await asyncio.gather(*(ask(pool, way) for _ in range(4)))
        await eventually(lambda: server.open == 0)


async def test_a_connection_along_an_older_way_is_not_used_again() -> None:
    server = Counting(sends(*[ok(b"x")] * 9, hold=True))
    async with serving(server) as port, pooled() as pool:
        old, new = way_to(port), way_to(port)
        await asyncio.gather(ask(pool, old), ask(pool, old))
        await ask(pool, new)
        assert server.opened == 3
        await eventually(lambda: server.open == 1)


async def test_a_connection_that_was_in_use_when_the_way_changed_is_closed_after_its_answer() -> None:
    gate = asyncio.Event()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        await gate.wait()
        writer.write(ok(b"late"))
        await reader.read()

    server = Counting(slow, sends(ok(b"x"), hold=True))
    async with serving(server) as port, pooled() as pool:
        late = asyncio.create_task(ask(pool, way_to(port)))
        await eventually(lambda: server.open == 1)
        assert await ask(pool, way_to(port)) == b"x"
        gate.set()
        assert await late == b"late"
        await eventually(lambda: server.open == 1)


async def test_closing_ends_requests_and_streams_and_leaves_nothing_open() -> None:
    server = Counting(sends(ok(b"x"), chunked(b"x")[:-5], hold=True), sends(hold=True))
    async with serving(server) as port:
        pool, way = Pool(), way_to(port)
        await ask(pool, way)
        _, stream = await pool.ask(way, "GET", b"GET / HTTP/1.1\r\n\r\n", streams=True)
        waiting = asyncio.create_task(ask(pool, way, "POST"))
        await eventually(lambda: server.open >= 2)
        await pool.close()
        with pytest.raises(Broken):
            await waiting
        await eventually(lambda: server.open == 0)
        assert not stream.usable
        await pool.close()


async def test_a_stream_that_is_encoded_is_refused() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n"
    async with serving(sends(answer, hold=True)) as port, pooled() as pool:
        with pytest.raises(Broken, match="encoded"):
            await pool.ask(way_to(port), "GET", b"GET / HTTP/1.1\r\n\r\n", streams=True)


async def test_who_does_not_get_connected_hears_of_it_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("neptune.runtime.pool.CONNECT_SECONDS", 0.05)

    async def says_nothing(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with serving(says_nothing) as port, pooled() as pool:
        with pytest.raises(TimeoutError, match=r"no connection within 0\.05 s"):
            await ask(pool, way_to(port, "https", tls=ssl.create_default_context()))


async def test_an_ipv6_server_is_named_in_brackets() -> None:
    heads = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await head_of(reader))
        writer.write(ok(b"x"))

    async with serving(script, host="::1") as port, pooled() as pool:
        assert await ask(pool, Way(address(f"http://[::1]:{port}/base/")), path="/a") == b"x"
        assert f"Host: [::1]:{port}\r\n" in heads[0]
        assert heads[0].startswith("GET /base/a HTTP/1.1\r\n")


@pytest.mark.parametrize(
    "url", ["socks5://u:secret@h:1", "h:6443", "https://", "http://h:99999", "http://h:x", "http://[::1", "http://a..b"]
)
def test_a_url_that_leads_nowhere_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ValueError, match=r"\w") as raised:
        address(url)
    assert "secret" not in str(raised.value)


def test_a_url_is_taken_apart() -> None:
    assert address("https://H.example/base/") == Address("https", "h.example", 443, "h.example", "/base", "")
    assert address("http://a%40b:p%3A@h:80") == Address("http", "h", 80, "h:80", "", "Basic YUBiOnA6")


# TLS and proxies, on both event loops: TLS is theirs.

EITHER_LOOP = pytest.mark.parametrize("loop", [asyncio.new_event_loop, new_event_loop], ids=["asyncio", "uvloop"])
Loop = Callable[[], asyncio.AbstractEventLoop]


class World:
    """An authority, servers that have its certificates, and a proxy that keeps what it is asked for."""

    def __init__(self, folder: Path) -> None:
        self.authority, self.folder = Authority(), folder
        self.heads: list[str] = []
        self.answer = b""
        (folder / "ca.crt").write_bytes(self.authority.certificate)

    def serving_as(self, *names: str, asks: bool = False) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._prove(context, self.authority.server(names))
        if asks:
            context.load_verify_locations(self.folder / "ca.crt")
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def trusting(self, user: str = "") -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.folder / "ca.crt")
        if user:
            self._prove(context, self.authority.client(user))
        return context

    def _prove(self, context: ssl.SSLContext, pair: KeyPair) -> None:
        (self.folder / "pair.pem").write_bytes(pair.certificate + pair.key)
        context.load_cert_chain(self.folder / "pair.pem")

    async def proxy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heads.append(await head_of(reader))
        method, target, _ = self.heads[-1].split(" ", 2)
        if self.answer or method != "CONNECT":
            writer.write(self.answer or ok(b"by the proxy"))
            return
        host, _, port = target.rpartition(":")
        to_reader, to_writer = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 Connection established\r\nVia: 1.1 p\r\n\r\n")
        try:
            await asyncio.gather(relay(to_reader, writer), relay(reader, to_writer))
        finally:
            to_writer.close()


async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(1000):
            writer.write(data)
            await writer.drain()
    writer.close()


def run(loop: Loop, main: Callable[[], Awaitable[None]]) -> None:
    async def quietly() -> None:
        said: list[dict[str, object]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: said.append(context))
        async with asyncio.timeout(10):
            await main()
        gc.collect()
        assert not said

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(quietly())


@EITHER_LOOP
def test_the_name_in_a_certificate_is_checked_and_another_may_stand_for_the_hosts(loop: Loop, tmp_path: Path) -> None:
    world = World(tmp_path)

    async def main() -> None:
        script = sends(ok(b"x"), ok(b"x"), hold=True)
        async with serving(script, world.serving_as("kube.example")) as port, pooled() as pool:
            with pytest.raises(ssl.SSLCertVerificationError, match=r"127\.0\.0\.1"):
                await ask(pool, way_to(port, "https", tls=world.trusting()))
            assert await ask(pool, way_to(port, "https", tls=world.trusting(), server_hostname="kube.example")) == b"x"

    run(loop, main)


@EITHER_LOOP
def test_a_client_certificate_is_shown_and_large_bodies_go_both_ways(loop: Loop, tmp_path: Path) -> None:
    world = World(tmp_path)
    body = b"0123456789" * 300_000

    async def main() -> None:
        script = sends(ok(body), ok(body), hold=True)
        async with serving(script, world.serving_as("127.0.0.1", asks=True)) as port, pooled() as pool:
            way = way_to(port, "https", tls=world.trusting("somebody"))
            head = f"POST / HTTP/1.1\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            for _ in range(2):
                answer, _ = await pool.ask(way, "POST", head + body)
                assert answer.body == body
            with pytest.raises(OSError, match=r"\w"):
                await ask(pool, way_to(port, "https", tls=world.trusting()))

    run(loop, main)


@EITHER_LOOP
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_https_goes_through_a_proxy_by_a_tunnel_and_its_password_only_to_the_proxy(
    loop: Loop, scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.crt"))  # what a proxy is trusted by
    inner: list[str] = []

    async def server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            inner.append(await head_of(reader))
            writer.write(ok(b"secret"))

    async def main() -> None:
        outer = world.serving_as("127.0.0.1") if scheme == "https" else None
        async with (
            serving(server, world.serving_as("kube.example")) as port,
            serving(world.proxy, outer) as proxy_port,
            pooled() as pool,
        ):
            proxy = address(f"{scheme}://user:pw@127.0.0.1:{proxy_port}")
            way = way_to(port, "https", tls=world.trusting(), server_hostname="kube.example", proxy=proxy)
            assert [await ask(pool, way) for _ in range(3)] == [b"secret"] * 3
            assert world.heads == [
                f"CONNECT 127.0.0.1:{port} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
                "Proxy-Authorization: Basic dXNlcjpwdw==\r\n\r\n"
            ]
            assert inner == [f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n"] * 3

    run(loop, main)


@EITHER_LOOP
def test_a_proxy_that_refuses_is_named_with_what_it_said(loop: Loop, tmp_path: Path) -> None:
    world = World(tmp_path)
    world.answer = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 4\r\n\r\nwho?"

    async def main() -> None:
        async with serving(world.proxy) as proxy_port, pooled() as pool:
            proxy = address(f"http://user:pw@127.0.0.1:{proxy_port}")
            with pytest.raises(Broken, match=rf"the proxy 127\.0\.0\.1:{proxy_port} answered 407") as broken:
                await ask(pool, way_to(1, "https", tls=world.trusting(), proxy=proxy))
            assert "pw" not in str(broken.value)

    run(loop, main)


@EITHER_LOOP
def test_a_proxy_cannot_pass_for_the_server(loop: Loop, tmp_path: Path) -> None:
    world = World(tmp_path)

    async def main() -> None:
        async with (
            serving(sends(ok(b"x")), world.serving_as("evil.example")) as port,
            serving(world.proxy) as proxy_port,
            pooled() as pool,
        ):
            proxy = address(f"http://127.0.0.1:{proxy_port}")
            with pytest.raises(ssl.SSLCertVerificationError):
                await ask(pool, way_to(port, "https", tls=world.trusting(), proxy=proxy))

    run(loop, main)


async def test_plain_http_goes_through_a_proxy_by_the_whole_url(tmp_path: Path) -> None:
    world = World(tmp_path)
    async with serving(world.proxy) as proxy_port, pooled() as pool:
        way = Way(address("http://kube:8080/base"), proxy=address(f"http://user:pw@127.0.0.1:{proxy_port}"))
        assert await ask(pool, way, path="/a") == b"by the proxy"
    assert world.heads == [
        "GET http://kube:8080/base/a HTTP/1.1\r\nHost: kube:8080\r\nProxy-Authorization: Basic dXNlcjpwdw==\r\n\r\n"
    ]


@EITHER_LOOP
def test_a_handshake_that_is_cancelled_leaves_nothing_open(loop: Loop, tmp_path: Path) -> None:
    world = World(tmp_path)
    server = Counting(sends())

    async def silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        server.open += 1
        await reader.read()
        server.open -= 1

    async def main() -> None:
        async with serving(silent) as port, pooled() as pool:
            asking = asyncio.create_task(ask(pool, way_to(port, "https", tls=world.trusting())))
            await eventually(lambda: server.open)
            asking.cancel()
            await eventually(lambda: not server.open)

    run(loop, main)
