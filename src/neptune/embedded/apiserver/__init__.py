"""A Kubernetes API server for one machine: enough of one for kubectl, the reconciler library and the demo.

Not for production clusters. From the inside out: `store` keeps objects and their history; `schema`, `validation`,
`crds`, `admission` and `decode` judge and complete them; `registry` has the verbs; `watch`, `table`,
`jsonpath` and `discovery` serve readers; `core` is the pure server, `http` the socket. This package re-exports the
pure part only: a simulation must not load aiohttp. The socket is `neptune.embedded.apiserver.http.EmbeddedApiServer`.
"""

from neptune.embedded.apiserver.core import ApiServer, Watch
from neptune.embedded.apiserver.request import Request, Response

__all__ = ["ApiServer", "Request", "Response", "Watch"]
