"""Broker settings into a transport: the same for every program."""

from __future__ import annotations

from pathlib import Path

from neptune.cli.settings import Values
from neptune.errors import SettingsError
from neptune.transport.mqtt import MqttTransport
from neptune.transport.mqtt_settings import MqttSettings


def transport(values: Values, client_id: str) -> MqttTransport:
    """Return the transport that the settings describe; nothing is opened yet.

    Raises:
        SettingsError: a file cannot be read, or the URL is not one of a broker.
    """
    url, *more_urls = (part.strip() for part in values["broker"].split(","))
    return MqttTransport(
        MqttSettings(
            url=url,
            more_urls=tuple(more_urls),
            client_id=client_id,
            username=values["username"],
            password=_password(values["password-file"]),
            ca_file=_path(values["ca-file"]),
            cert_file=_path(values["cert-file"]),
            key_file=_path(values["key-file"]),
            protocol=5 if values["mqtt-version"] == "5" else 4,
        )
    )


def _path(value: str | None) -> Path | None:
    return None if value is None else Path(value)


def _password(file: str | None) -> str | None:
    if file is None:
        return None
    try:
        # Editors end a file with a newline that is not part of the password.
        return Path(file).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"cannot read the password file {file}: {error}") from error
