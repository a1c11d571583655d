"""What everything here is made of."""

from __future__ import annotations

from typing import Any

#: A JSON object as `json.loads` gives it.
Object = dict[str, Any]
