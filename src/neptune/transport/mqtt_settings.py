"""Where the broker is and who we are to it. Values only; `mqtt` and `_paho` use them."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from neptune.errors import SettingsError
from neptune.transport.retry import RetryPolicy

# IANA: mqtt, secure-mqtt; and what RFC 6455, 3 says of WebSocket URLs.
_PORTS = {"mqtt": 1883, "mqtts": 8883, "ws": 80, "wss": 443}
_FORMS = "mqtt://HOST:PORT, mqtts://HOST:PORT, ws://HOST:PORT/PATH or wss://HOST:PORT/PATH"


@dataclass(frozen=True, slots=True, kw_only=True)
class MqttSettings:
    """How to reach one broker, or one of several that pass messages on to each other.

    Attributes:
        url: `mqtt://host[:1883]`, or `mqtts://host[:8883]` for TLS; `ws://host[:80][/mqtt]` and `wss://host[:443][/mqtt]`
            for MQTT in a WebSocket. User and password do not belong in it.
        more_urls: further addresses of that broker, or of its cluster; each failure leads to the next one.
        client_id: unique at this broker; a second client with it takes the connection over.
        username, password: left out when None.
        ca_file: authorities that may sign the broker's certificate, PEM; the system's when None. TLS files are read
            anew for each connection, so that a renewed certificate needs no restart.
        cert_file, key_file: this client's certificate and key, PEM, where the broker asks for one.
        protocol: 5 for MQTT 5, 4 for MQTT 3.1.1 (which has no reasons for what it refuses).
        keepalive_seconds: 1 to 65535. A dead connection is noticed here after twice this time at most, by the broker,
            which then publishes our will, after one and a half (MQTT 5, 3.1.2.10).
        answer_seconds: how long the broker may take to answer CONNECT, SUBSCRIBE and PUBLISH each.
        max_packet_bytes: the largest packet that a broker may send to us. MQTT 5 brokers are told; a larger message of
            another one is dropped.
        max_queued_messages, max_queued_bytes: received messages that wait for `next_event`; the oldest is dropped
            beyond.
        retry: how long to wait between attempts.

    Raises:
        SettingsError: a value is out of bounds; the text names it and the remedy.
    """

    url: str
    client_id: str
    more_urls: tuple[str, ...] = ()
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    protocol: Literal[4, 5] = 5
    keepalive_seconds: int = 30
    answer_seconds: float = 10.0
    max_packet_bytes: int = 2**20
    max_queued_messages: int = 10_000
    max_queued_bytes: int = 16 * 2**20
    retry: RetryPolicy = field(default_factory=RetryPolicy)

    def __post_init__(self) -> None:
        self._check_url()
        if not self.client_id:
            raise SettingsError("client id: must not be empty, it names this connection at the broker")
        if self.protocol not in {4, 5}:
            raise SettingsError(f"MQTT protocol {self.protocol}: write 5, or 4 for MQTT 3.1.1")
        if not 1 <= self.keepalive_seconds <= 65_535:
            raise SettingsError(f"keepalive {self.keepalive_seconds} s: must lie between 1 and 65535")
        if self.key_file is not None and self.cert_file is None:
            raise SettingsError("client key without a certificate: give both, or neither")
        if not self.tls and (self.ca_file or self.cert_file):
            raise SettingsError(f"TLS files are given, but {self.url} is not encrypted: write mqtts:// or wss://")
        if len({settings.tls for settings in self.each()}) > 1:
            # Whoever can break the encrypted connection would have the password at the next address.
            raise SettingsError(
                "broker URLs: some are encrypted and some are not; make all mqtts:// or wss://, or none"
            )

    def _check_url(self) -> None:
        try:
            parts = urlsplit(self.url)
            known = parts.scheme in _PORTS and parts.hostname and parts.port != 0
        except ValueError:  # a port that is no number
            known = False
        if not known:
            raise SettingsError(f"broker URL {self._shown_url!r}: write {_FORMS}")
        if parts.username is not None or parts.query or parts.fragment:
            raise SettingsError("broker URL: only scheme, host and port; give user and password by themselves")
        if parts.path not in {"", "/"} and not self.websocket:
            raise SettingsError(f"broker URL {self._shown_url!r}: only ws:// and wss:// have a path")

    def each(self) -> list[Self]:
        """Return settings for one address each, in the order in which they are tried.

        Raises:
            SettingsError: one of them cannot be used together with the rest of these settings.
        """
        return (
            [replace(self, url=url, more_urls=()) for url in (self.url, *self.more_urls)] if self.more_urls else [self]
        )

    def tls_context(self) -> ssl.SSLContext:
        """Return what TLS needs, from the files as they are now.

        Raises:
            SettingsError: a file cannot be read, or is not what it should be; the text names it.
        """
        for path in (self.ca_file, self.cert_file, self.key_file):
            if path is not None:
                try:
                    path.read_bytes()
                except OSError as error:
                    raise SettingsError(f"cannot read the TLS file {path}: {error.strerror}") from error
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
        except ssl.SSLError as error:
            raise SettingsError(f"{self.ca_file} holds no certificates of authorities in PEM form") from error
        if self.cert_file is not None:
            try:
                context.load_cert_chain(self.cert_file, self.key_file)
            except ssl.SSLError as error:
                files = f"{self.cert_file} and {self.key_file or self.cert_file}"
                raise SettingsError(f"{files} are not a certificate in PEM form and its key") from error
        return context

    @property
    def host(self) -> str:
        """The broker's host name or address."""
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        """The broker's TCP port."""
        parts = urlsplit(self.url)
        return parts.port or _PORTS[parts.scheme]

    @property
    def tls(self) -> bool:
        """Whether the connection is encrypted and the broker's certificate checked."""
        return urlsplit(self.url).scheme in {"mqtts", "wss"}

    @property
    def websocket(self) -> bool:
        """Whether MQTT travels in a WebSocket, which passes proxies of the web (MQTT 5, 6)."""
        return urlsplit(self.url).scheme in {"ws", "wss"}

    @property
    def path(self) -> str:
        """The path of a WebSocket; brokers listen at `/mqtt` by default."""
        path = urlsplit(self.url).path
        return path if path not in {"", "/"} else "/mqtt"

    @property
    def address(self) -> str:
        """`host:port`, for texts."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def _shown_url(self) -> str:
        return self.url.rpartition("@")[2]  # a password may have been put before the host
