"""The root of every error that neptune raises on purpose. Knows nothing else.

NeptuneError
├── SettingsError            bad flag, environment variable or file: exit code 2
├── runtime.errors.ApiError  what a Kubernetes API server answered
├── transport.TransportError what a broker or the way to it refused
└── protocol.MessageError    a message from the other side that cannot be read
"""


class NeptuneError(Exception):
    """An error whose text tells a person what is wrong and what to do."""


class SettingsError(NeptuneError):
    """A setting is missing, unknown or out of bounds; the text names it and the remedy."""
