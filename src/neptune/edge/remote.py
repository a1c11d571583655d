"""Objects at `http://`, `https://` and `s3://` urls as sources of bytes. The one door to `obstore`.

For short-lived processes only: the library takes more memory than the whole agent may.
Rules of RFC 9110: parts of an object belong together only under one strong entity tag (section 13.1.5), so every
request of a pass carries `If-Match`, and an object that changes meanwhile ends the pass. A pass may go on from an
earlier one when the tag is strong and the old bytes are proved (see `proof`); an object with a weak tag, with none, or
at a server without ranges is read from its beginning whenever it has changed.
Without credentials requests are not signed, whatever this machine has to sign with: its keys are not the dataset's.
Those of a web server are not sent on when it redirects to another one (Fetch standard, HTTP-redirect fetch, 13).
`AWS_ENDPOINT_URL` and `AWS_REGION` in the environment say where the S3 server is.
Neighbours: `counting` reads; `sources` is the port.
"""

from __future__ import annotations

import errno
import hashlib
from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import unquote, urlsplit

from neptune.edge.compression import is_compressed
from neptune.edge.problems import Problem, Reason, shown
from neptune.edge.sources import FileId

if TYPE_CHECKING:
    from obstore import GetOptions, GetResult, ObjectMeta
    from obstore.store import ClientConfig, HTTPStore, RetryConfig, S3Store

SCHEMES = frozenset({"http", "https", "s3"})
#: Bytes of one request when reading on: few round trips, and at 140 KB/s still less than half a minute.
WINDOW_BYTES = 4 * 2**20
_CLIENT: ClientConfig = {"connect_timeout": "5s", "timeout": "1h"}
_RETRY: RetryConfig = {"max_retries": 2, "retry_timeout": timedelta(seconds=20)}


@dataclass(frozen=True, slots=True)
class Credentials:
    """What signs requests to an S3 server. `endpoint` is the server's url where it is not Amazon's."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str = field(default="", repr=False)
    region: str = ""
    endpoint: str = ""

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Self | None:
        """Return those that a person gave to a command, by the names of Amazon's own tools."""
        if not environ.get("AWS_ACCESS_KEY_ID"):
            return None
        return cls(
            access_key_id=environ["AWS_ACCESS_KEY_ID"],
            secret_access_key=environ.get("AWS_SECRET_ACCESS_KEY", ""),
            session_token=environ.get("AWS_SESSION_TOKEN", ""),
            region=environ.get("AWS_REGION", ""),
            endpoint=environ.get("AWS_ENDPOINT_URL", ""),
        )


@dataclass(frozen=True, slots=True)
class Login:
    """What a web server wants to see, as the value of `Authorization`."""

    authorization: str = field(repr=False)

    @classmethod
    def basic(cls, username: str, password: str) -> Self:
        """Return a name and a password (RFC 7617)."""
        return cls(f"Basic {b64encode(f'{username}:{password}'.encode()).decode()}")

    @classmethod
    def bearer(cls, token: str) -> Self:
        """Return a token (RFC 6750)."""
        return cls(f"Bearer {token}")


def credentials_of(url: str, values: Mapping[str, str]) -> Credentials | Login | Problem:
    """Return what opens a url, of the values of its Secret by their keys."""
    match url.partition("://")[0].lower(), values:
        case "s3", {"accessKeyID": key, "secretAccessKey": secret}:
            more = (values.get(name, "") for name in ("sessionToken", "region", "endpoint"))
            return Credentials(key, secret, *more)
        case "http" | "https", {"token": token}:
            return Login.bearer(token)
        case "http" | "https", {"username": username, "password": password}:
            return Login.basic(username, password)
    # The cloud may know a newer url than this node for a moment.
    return Problem(Reason.CREDENTIALS_INVALID, f"the cloud has sent no credentials for {shown(url)}; trying again")


def is_remote(url: str) -> bool:
    """Tell whether a url names an object that this module reads."""
    return url.partition("://")[0].lower() in SCHEMES and "://" in url


@dataclass(slots=True)
class RemoteSource:
    """Implements the port `Source` for one object, as it was when it was opened."""

    url: str
    identity: FileId
    _store: HTTPStore | S3Store
    _path: str
    #: The strong entity tag of the object; None where parts of it cannot be put together.
    _tag: str | None
    _end: int = -1
    _ahead: bytes = b""
    _whole: Iterator[bytes] | None = None

    @classmethod
    def open(cls, url: str, credentials: Credentials | Login | None = None) -> Self | Problem:
        """Ask the server what the object is; nothing of it is read."""
        try:
            import obstore  # noqa: PLC0415  # optional, and not in the agent
        except ModuleNotFoundError:
            return Problem(
                Reason.BAD_URL, f"{shown(url)} needs obstore on this node: pip install 'neptune-edge[remote]'"
            )
        parts = urlsplit(url)
        # Never shown: such urls hold secrets.
        if "@" in parts.netloc or parts.query or parts.fragment:
            return Problem(Reason.BAD_URL, "a url with a user, '?' or '#' is not read: it may hold a secret")
        path = unquote(parts.path.lstrip("/"))
        try:
            if not (parts.netloc and path):
                raise ValueError(url)  # noqa: TRY301  # as the library does for other nonsense
            store = _store_of(url, credentials)
            meta = _meta_of(store, path)
        except (obstore.exceptions.BaseError, FileNotFoundError, ValueError) as error:
            return _problem_of(error, url, is_signed=credentials is not None)
        tag = meta["e_tag"]
        strong = tag if tag and not tag.startswith("W/") else None
        return cls(url, _identity(url, meta, strong), store, path, strong)

    def read(self, offset: int, length: int) -> bytes:
        """See `Source.read`.

        Raises:
            OSError: the server does not answer, or the object changed after it was opened.
        """
        import obstore  # noqa: PLC0415  # `open` found it

        length = min(length, self.identity.size - offset)
        if length <= 0:
            return b""
        try:
            if self._tag is not None:
                return self._read_part(offset, length)
        except obstore.exceptions.NotSupportedError:
            self._tag = None  # a server without ranges
        except (obstore.exceptions.PreconditionError, FileNotFoundError) as error:
            raise OSError(errno.EIO, "it changed while it was read") from error
        except obstore.exceptions.BaseError as error:
            raise OSError(errno.EIO, _brief(error)) from error
        try:
            return self._read_whole(offset, length)
        except obstore.exceptions.BaseError as error:
            raise OSError(errno.EIO, _brief(error)) from error

    def close(self) -> None:
        """See `Source.close`."""
        self._whole, self._ahead = None, b""

    def _read_part(self, offset: int, length: int) -> bytes:
        if offset != self._end:
            self._ahead = self._get(offset, length)
        elif len(self._ahead) < length:
            start = offset + len(self._ahead)
            self._ahead += self._get(start, min(WINDOW_BYTES, self.identity.size - start))
        data, self._ahead = self._ahead[:length], self._ahead[length:]
        self._end = offset + len(data)
        return data

    def _get(self, offset: int, length: int) -> bytes:
        import obstore  # noqa: PLC0415

        options: GetOptions = {"range": (offset, offset + length), "if_match": self._tag}
        return bytes(self._plain(obstore.get(self._store, self._path, options=options)).bytes())

    def _plain(self, result: GetResult) -> GetResult:
        """Return the result unless its bytes are not the object's: nobody here undoes a coding (RFC 9110, 8.4)."""
        coding = result.attributes.get("Content-Encoding", "identity")
        if coding != "identity" and not is_compressed(self._path):
            raise OSError(errno.EIO, f"its server sends it as {shown(str(coding))} (Content-Encoding): store it plain")
        return result

    def _read_whole(self, offset: int, length: int) -> bytes:
        """Read on; nothing where that is no reading on, so that nothing before it can be proved."""
        import obstore  # noqa: PLC0415

        if offset == 0:
            result = self._plain(obstore.get(self._store, self._path))
            if _identity(self.url, result.meta, None)[2:] != self.identity[2:]:
                raise OSError(errno.EIO, "it changed while it was read")
            self._whole, self._ahead, self._end = iter(result.stream(WINDOW_BYTES)), b"", 0
        if self._whole is None or offset != self._end:
            return b""
        while len(self._ahead) < length and (chunk := next(self._whole, b"")):
            self._ahead += bytes(chunk)
        if len(self._ahead) < length:
            raise OSError(errno.EIO, "it ended early")
        data, self._ahead = self._ahead[:length], self._ahead[length:]
        self._end = offset + length
        return data


def _meta_of(store: HTTPStore | S3Store, path: str) -> ObjectMeta:
    """Return what an object is, without reading it."""
    import obstore  # noqa: PLC0415  # `open` found it

    try:
        return obstore.head(store, path)
    except FileNotFoundError as error:
        # The library's word for this, too. A program that serves what it makes may know GET alone (RFC 9110, 15.5.6).
        if "405 Method Not Allowed" not in str(error):
            raise
        return obstore.get(store, path).meta


def _store_of(url: str, credentials: Credentials | Login | None) -> HTTPStore | S3Store:
    from obstore.store import HTTPStore, S3Store  # noqa: PLC0415

    parts = urlsplit(url)
    if parts.scheme.lower() != "s3":
        client: ClientConfig = {**_CLIENT, "allow_http": parts.scheme.lower() == "http"}
        if isinstance(credentials, Login):
            client["default_headers"] = {"Authorization": credentials.authorization}
        return HTTPStore(f"{parts.scheme}://{parts.netloc}", client_options=client, retry_config=_RETRY)
    config: dict[str, Any] = {"skip_signature": True}
    if isinstance(credentials, Credentials):
        config = {
            "aws_access_key_id": credentials.access_key_id,
            "aws_secret_access_key": credentials.secret_access_key,
        }
        for name, value in (
            ("aws_session_token", credentials.session_token),
            ("aws_region", credentials.region),
            ("aws_endpoint", credentials.endpoint),
        ):
            if value:
                config[name] = value
    client = {**_CLIENT, "allow_http": True}
    return S3Store(parts.netloc, config=config, client_options=client, retry_config=_RETRY)  # type: ignore[arg-type]


def _identity(url: str, meta: ObjectMeta, strong: str | None) -> FileId:
    """Equal ones mean the same bytes; with one `inode` the bytes may be continued."""
    tag = meta["e_tag"] or ""
    stamp = int(meta["last_modified"].timestamp() * 1e9)
    return FileId(0, _number(url if strong else f"{url} {tag} {stamp}"), meta["size"], stamp, _number(tag))


def _number(text: str) -> int:
    """Return a number of 63 bits, which JSON and sqlite keep, for a text."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()) >> 1


def _problem_of(error: Exception, url: str, *, is_signed: bool) -> Problem:
    from obstore import exceptions  # noqa: PLC0415

    name = shown(url)
    match error:
        case FileNotFoundError():  # what the library raises, whatever its own NotFoundError
            return Problem(Reason.NOT_FOUND, f"{name} does not exist; it is counted when it appears")
        case exceptions.PermissionDeniedError() | exceptions.UnauthenticatedError():
            how = "with these credentials" if is_signed else "without credentials"
            return Problem(Reason.PERMISSION_DENIED, f"the server does not let {name} be read {how}: change its policy")
        case exceptions.InvalidPathError() | ValueError():
            return Problem(Reason.BAD_URL, f"{name} is no url of an object: give s3://BUCKET/KEY or https://HOST/PATH")
    return Problem(Reason.READ_FAILED, f"{name} cannot be read: {_brief(error)}; trying again")


def _brief(error: Exception) -> str:
    """Return the first line of an error, the rest of which is a dump of the library's values."""
    return shown(next(iter(str(error).splitlines()), type(error).__name__))
