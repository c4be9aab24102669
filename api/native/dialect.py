"""What no vendor has, as an object: routes of our own in the OpenAI dialect's words, without clients and batches."""

from __future__ import annotations

from api.native import events, pools, webhooks
from api.openai.errors import DOCS
from api.shared.dialect import Dialect

DIALECT = Dialect(
    name="native",
    prefix="/v1/",
    docs=DOCS,
    routers=(events.router, webhooks.router, pools.router),
)
