"""What is wrong with settings, in words for whoever wrote them: never a value, which may be a secret."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from itertools import takewhile
from typing import Any

from pydantic_settings import SettingsError

from orchestrator.config import sources


def explain(item: Mapping[str, Any]) -> str:
    """One of pydantic's errors: the key, what is wrong with it, and its variable."""
    key = ".".join(str(part) for part in item["loc"])
    message = str(item["msg"]).removeprefix("Value error, ")
    if not key:
        return message
    named = takewhile(lambda part: isinstance(part, str), item["loc"])  # a variable has the whole of a list
    variable = "COGMILL_" + "__".join(map(str, named)).upper()
    return f"{key}: {message} (environment: {variable})"


def unparsed(error: SettingsError) -> str:
    """Which variable of the environment, or file of secrets, is no JSON; without its value, which may be one."""
    cause, field = error.__cause__, re.search(r'field "(\w+)"', str(error))
    if not isinstance(cause, json.JSONDecodeError) or field is None:
        return f"the environment: {error}"
    of_field = re.compile(rf"COGMILL_{field[1]}(__.*)?", re.IGNORECASE)
    variables = [name for name, value in os.environ.items() if value == cause.doc and of_field.fullmatch(name)]
    return f"{' or '.join(sorted(variables)) or f'{sources.SECRETS_DIR}: {field[1].lower()}'} is no JSON: {cause}"
