"""What went wrong between us and a broker, in words for a person: where, what, and what to check. Pure.

The codes are those of MQTT 5, 2.4; paho translates those of 3.1.1 into them.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterable, Mapping
from typing import Protocol

from neptune.transport.base import Published
from neptune.transport.mqtt_settings import MqttSettings


class Reason(Protocol):
    """A reason code: its number, and its name as text."""

    @property
    def value(self) -> int: ...


_MALFORMED, _PROTOCOL_ERROR, _KEEPALIVE, _TAKEN_OVER = 129, 130, 141, 142

# What OpenSSL finds wrong with a certificate: <openssl/x509_vfy.h>, X509_V_ERR_*.
_NOT_YET_VALID, _EXPIRED = 9, 10
_UNKNOWN_AUTHORITY = {2, 18, 19, 20, 21}  # no issuer found, self-signed, or a chain that cannot be verified
_OTHER_NAME = {62, 64}  # host name, IP address

# Alerts of RFC 8446, 6.2, by OpenSSL's names. TLS 1.2 has none of its own for a missing certificate.
_CERTIFICATE_ALERTS = (
    "ALERT_CERTIFICATE",
    "ALERT_BAD_CERTIFICATE",
    "ALERT_UNKNOWN_CA",
    "ALERT_UNSUPPORTED_CERTIFICATE",
)

_REFUSALS = {
    132: "it does not speak this version of MQTT: set mqtt-version to {other}",
    133: "it does not accept the client id {client_id!r}",
    134: "bad user name or password",
    135: "not authorised: check the user name, the password and the rights of {user}",
    136: "it is not available at the moment",
    137: "it is busy",
    138: "this client is banned",
    159: "too many connections in a short time",
}


def published(code: int) -> Published:
    """Translate the reason code of a PUBACK (MQTT 5, 3.4.2.1)."""
    if code == 16:
        return Published.NO_RECEIVER
    if code == 151:
        return Published.QUEUE_FULL
    return Published.DENIED if code >= 128 else Published.ACCEPTED


def refused_connect(settings: MqttSettings, reason: Reason) -> str:
    """Say why the broker answered our CONNECT with a refusal."""
    text = _REFUSALS.get(reason.value, str(reason))
    text = text.format(
        other=_other_version(settings),
        client_id=settings.client_id,
        user=f"user {settings.username!r}" if settings.username else "a client without a user name",
    )
    return f"broker {settings.address} refused the connection: {text}"


def _other_version(settings: MqttSettings) -> str:
    return "3.1.1" if settings.protocol == 5 else "5"


def refused_subscribe(settings: MqttSettings, refused: Mapping[str, str]) -> str:
    """Say that the broker did not grant filters; `refused` has its reason for each."""
    named = ", ".join(f"{topic_filter} ({reason})" for topic_filter, reason in refused.items())
    return f"broker {settings.address} refused to subscribe {named}: check its ACL{prefix_hint(refused)}"


def prefix_hint(filters: Iterable[str]) -> str:
    """Say what else may be wrong when a broker did not take these filters."""
    if not any(topic_filter.startswith("$") for topic_filter in filters):
        return ""
    # MQTT 5, 4.7.2, advises brokers so, and AWS IoT Core ends the connection.
    return "; a broker may refuse topics that begin with $: if this one does, set another topic-prefix on all sides"


def closed(settings: MqttSettings, reason: Reason, *, accepted: bool, by_broker: bool, text: str | None) -> str:
    """Say why a connection is over: by the broker's DISCONNECT, or by the network.

    `accepted` tells whether the broker had answered our CONNECT.
    """
    broker, client_id = f"broker {settings.address}", settings.client_id
    if by_broker and reason.value == _TAKEN_OVER:
        return (
            f"another client with id {client_id!r} took over the connection to {broker}: "
            "is another agent using this node name, or another controller this client id?"
        )
    if by_broker:
        return f"{broker} closed the connection: {reason}{f' ({text})' if text else ''}"
    if reason.value == _KEEPALIVE:
        return f"{broker} did not answer to PING: is the network broken?"
    if reason.value in {_MALFORMED, _PROTOCOL_ERROR}:
        return (
            f"{broker} answers otherwise than MQTT asks for: try mqtt-version {_other_version(settings)}, "
            "and check the port; one for WebSockets needs ws://"
        )
    if not accepted:
        # What a TLS port does with a CONNECT in plain text, and mosquitto with one more than its max_connections.
        scheme = "check" if settings.tls else "is that its port for TLS (mqtts://, wss://)? Else check"
        return f"{broker} closed the connection without an answer to CONNECT: {scheme} its log and its limit of clients"
    # MQTT 3.1.1 has no DISCONNECT from the broker, and mosquitto 2.0.11 closes before it has sent its own, so that
    # a take-over may look like any other loss.
    return (
        f"connection to {broker} was lost; if that repeats, "
        f"another agent may be using this node name, or another controller this client id ({client_id!r})"
    )


def unreachable(settings: MqttSettings, error: OSError | ValueError) -> str:
    """Say why no connection came about at all."""
    broker = f"broker {settings.address}"
    match error:
        case ssl.SSLError():
            text = _tls(settings, error)
        case socket.gaierror():
            text = f"host name not found ({error.strerror}): check it and DNS"
        case ConnectionResetError() if settings.tls:
            text = "the connection was reset in the middle of TLS: check that this is its TLS port"
        case ConnectionRefusedError():
            text = "connection refused: is it running, and is the port right?"
        case TimeoutError():
            text = "no answer: check the address and firewalls"
        case ConnectionError() if settings.websocket and not error.errno:
            text = f"it does not take MQTT in a WebSocket there: check the port and the path {settings.path}"
        case OSError(filename=str() as name):
            text = f"cannot read {name} ({error.strerror})"
        case OSError():
            text = f"{error.strerror or error}: check the network"
        case _:
            text = str(error)
    return f"cannot reach {broker}: {text}"


def _tls(settings: MqttSettings, error: ssl.SSLError) -> str:
    """Say what went wrong in TLS: we did not trust the broker, or it did not trust us, or it is something else."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"TLS verification failed ({error.verify_message}): {_remedy(settings, error)}"
    reason = error.reason or ""
    if any(alert in reason for alert in _CERTIFICATE_ALERTS):
        given = f"the certificate in {settings.cert_file}" if settings.cert_file else "a client without a certificate"
        word = reason.partition("ALERT_")[2].replace("_", " ").lower()
        return (
            f"it refused {given} ({word}): give cert_file and key_file that are valid now and signed by an authority "
            "of the broker"
        )
    return f"TLS failed ({reason or error}): check that this is its TLS port, ca_file and cert_file"


def _remedy(settings: MqttSettings, error: ssl.SSLCertVerificationError) -> str:
    authorities = settings.ca_file or "the list of this system"
    match error.verify_code:
        case code if code == _EXPIRED:
            return "give the broker a new certificate; if that one is fresh, is the clock of this machine right?"
        case code if code == _NOT_YET_VALID:
            return "is the clock of this machine right?"
        case code if code in _UNKNOWN_AUTHORITY:
            return f"give as ca_file the authority that signed the broker's certificate; {authorities} has it not"
        case code if code in _OTHER_NAME:
            return f"use a host name that is in the broker's certificate, or issue it one for {settings.host}"
    return "check ca_file and the certificate of the broker"
