"""Pictures are checked apart: by two confined children of each process, so that no decoder is near what is secret.

One child decodes any picture, the other those with a quarter of the most pixels: so large ones wait for each other, the
small ones do not wait for them, and memory stays below that of one largest and a quarter.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import cache

from orchestrator.confined.child import Answer, Child
from orchestrator.domain.errors import InvalidField, RequestError, TooLarge, Unavailable
from orchestrator.domain.picture import MAX_PIXELS, Picture
from orchestrator.pictures.kinds import KINDS, kind_of
from orchestrator.pictures.measuring import MIN_SIDE, broken
from orchestrator.telemetry import logs

# A largest picture takes a second or two; whoever needs longer than this is killed.
DECODE_S = 5.0

# A child that nobody asks anything gives its memory back.
IDLE_S = 300.0

_log = logs.get("pictures")

_MODULE = "orchestrator.pictures.decoding"
_SMALL = 4
# No picture is narrower than `MIN_SIDE`.
_MAX_SIDE = MAX_PIXELS // MIN_SIDE
_CONTENT_TYPES = frozenset(kind.content_type for kind in KINDS)


@dataclass(eq=False, slots=True)
class _Question:
    data: bytes
    large: bool = False
    answer: Future[Picture] = field(default_factory=Future)


class Decoders:
    """Two children, for `small` pictures and for those of `any_size`, and the line before them.

    Nothing runs until there is a picture.
    """

    def __init__(self, max_bytes: int, max_pixels: int) -> None:
        self._waiting: deque[_Question] = deque()
        self._changed = threading.Condition()
        self._at_work: set[Child] = set()
        self._busy = False
        bounds = {"max_image_bytes": max_bytes, "max_image_pixels": max_pixels, "seconds": math.ceil(DECODE_S)}
        self.small = Child(_MODULE, {**bounds, "most_pixels": max_pixels // _SMALL})
        self.any_size = Child(_MODULE, {**bounds, "most_pixels": max_pixels})

    def check(self, data: bytes) -> Future[Picture]:
        """The picture, in the order of asking. Raises `Unavailable`, now and later; later `InvalidField` or `TooLarge`.

        Cancelled before its turn, it costs nothing.
        """
        question = _Question(data)
        with self._changed:
            self._begin()
            self._waiting.append(question)
            self._changed.notify_all()
        return question.answer

    def _begin(self) -> None:
        """See to it that somebody works with each child."""
        for child, name in ((self.small, "decode-small"), (self.any_size, "decode")):
            if child not in self._at_work:
                arguments = (child, child is self.any_size)
                try:
                    threading.Thread(target=self._work, args=arguments, name=name, daemon=True).start()
                except RuntimeError as error:  # no further thread is to be had
                    raise Unavailable(f"the image cannot be checked at this moment: {error}") from None
                self._at_work.add(child)

    def _work(self, child: Child, any_size: bool) -> None:
        while True:
            question = self._next(any_size)
            if question is None:
                child.end()
                continue
            self._note(any_size, busy=True)
            try:
                found = asked(child, question.data)
                if found is None and any_size:
                    raise _broken(question.data)  # nothing is too large for this one
            except BaseException as error:
                question.answer.set_exception(error)
            else:
                if found is None:
                    self._put_back(question)
                else:
                    question.answer.set_result(found)
            self._note(any_size, busy=False)

    def _note(self, any_size: bool, *, busy: bool) -> None:
        """Whether the child for small ones has one."""
        if not any_size:
            with self._changed:
                self._busy = busy
                self._changed.notify_all()

    def _next(self, any_size: bool) -> _Question | None:
        """The longest waiting that this child may take; None when there was none for long."""
        with self._changed:
            while True:
                found = next((each for each in self._waiting if self._suits(each, any_size)), None)
                if found is not None:
                    self._waiting.remove(found)
                    if found.large or found.answer.set_running_or_notify_cancel():
                        return found
                elif not self._changed.wait(IDLE_S):
                    return None

    def _suits(self, question: _Question, any_size: bool) -> bool:
        """The child for any size is there for what the other cannot do, or cannot do now."""
        return question.large or self._busy if any_size else not question.large

    def _put_back(self, question: _Question) -> None:
        """It is for the other child, and keeps its turn."""
        with self._changed:
            question.large = True
            self._waiting.appendleft(question)
            self._changed.notify_all()


@cache
def decoders(max_bytes: int, max_pixels: int) -> Decoders:
    """This process's, whoever asks."""
    return Decoders(max_bytes, max_pixels)


def asked(child: Child, data: bytes) -> Picture | None:
    """The picture; None when it is too large for this child.

    Nothing that it says is believed which none of ours says. Raises `InvalidField`, `TooLarge` or `Unavailable`.
    """
    said = child.ask({}, data, within_s=DECODE_S)
    if not isinstance(said, Answer) and not said.late and not said.fresh:
        said = child.ask({}, data, within_s=DECODE_S)  # what ended it may have been another picture's work
    if not isinstance(said, Answer):
        if not said.late:
            raise _broken(data)
        if said.blameless(DECODE_S):
            raise Unavailable(f"the image could not be checked within {DECODE_S:g} s: this machine is too busy")
        raise InvalidField(f"takes more than {DECODE_S:g} s to decode", param="image", code="image_too_slow")
    words = said.words
    if "large" in words:
        return None
    if "unable" in words:
        _log.error("decoder_unable", error=str(words["unable"])[:200])
        raise Unavailable("the image cannot be checked at this moment")
    try:
        if "refused" in words:
            error: RequestError = _refusal(words)
        elif words.get("content_type") in _CONTENT_TYPES:
            width, height = int(words["width"]), int(words["height"])
            if not (MIN_SIDE <= width <= _MAX_SIDE and MIN_SIDE <= height <= _MAX_SIDE):
                raise ValueError("no size of a picture")
            kind, sideways = words["content_type"], bool(words["sideways"])
            return Picture(data=data, content_type=kind, width=width, height=height, sideways=sideways)
        else:  # it lacked memory, or says what none of ours would
            error = _broken(data)
    except (KeyError, ValueError, TypeError):
        error = _broken(data)
    raise error


def _refusal(words: dict[str, str]) -> RequestError:
    if words["refused"] == "large":
        return TooLarge(words["message"], param=words["param"])
    return InvalidField(words["message"], param=words["param"], code=words["code"])


def _broken(data: bytes) -> InvalidField:
    kind = kind_of(data)
    assert kind is not None, "what is of no kind is not decoded"
    return broken(kind)
