"""What every answer is: a frozen value that keeps the fields which a newer server adds."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, ValidatorFunctionWrapHandler, WrapValidator


class Answer(BaseModel):
    """Fields that this release does not know are kept, and are attributes like the others."""

    model_config = ConfigDict(extra="allow", frozen=True, protected_namespaces=())


class Identified(Answer):
    """What a listing holds: the next page begins after an `id`."""

    id: str


def _or_newer(value: Any, known: ValidatorFunctionWrapHandler) -> Any:
    try:
        return known(value)
    except ValidationError:
        if isinstance(value, str):
            return value
        raise


# Beside a `Literal`: type checkers see the words of this release, and a newer server's word still comes through.
OrNewer = WrapValidator(_or_newer)


class Deleted(Answer):
    """It is gone for good."""

    id: str
    object: str
    deleted: bool


class Problem(Answer):
    """Why something has failed; `code` is stable."""

    code: str
    message: str
