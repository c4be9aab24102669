"""Every dialect. A new one is a folder beside the others, and its entry here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from api.bigmodel.dialect import DIALECT as BIGMODEL
from api.native.dialect import DIALECT as NATIVE
from api.openai.dialect import DIALECT as OPENAI
from api.openai.lines import OpenAILines
from api.shared.dialect import Dialect
from orchestrator.campaigns.requests import Wording
from orchestrator.config import Settings
from orchestrator.ports.batches import Lines

# The first one words the problems of paths that are nobody's.
DIALECTS: tuple[Dialect, ...] = (OPENAI, BIGMODEL, NATIVE)


def wording_of(settings: Settings) -> Wording:
    """The request for one video whose words the rows of campaigns use."""
    return OpenAILines(settings)


def lines_of(settings: Settings, dialects: Sequence[Dialect] = DIALECTS) -> Mapping[str, Lines]:
    """What reads and writes the lines of batches, by the name of the dialect that a batch carries."""
    return {dialect.name: dialect.lines(settings) for dialect in dialects if dialect.lines is not None}
