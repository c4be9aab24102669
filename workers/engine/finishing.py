"""Frames on their way to the bucket, on threads beside the step loop: videos, and previews of them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import TYPE_CHECKING

from structlog.stdlib import BoundLogger

from orchestrator.domain.job import Continuity, Incident
from orchestrator.domain.protocol import Broke, End, Rendered, Stage, Stopped
from workers.engine import ladder
from workers.engine.failures import failure_of
from workers.engine.finishers import PLACES
from workers.engine.held import Held
from workers.engine.parts import Finish, Show
from workers.engine.renders import Renders

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# A video does not wait longer for a checkpoint that nobody needs any more.
_SAVED_WITHIN_S = 30.0


class _Cancelled(Exception):
    """A render was cancelled while its frames were being finished."""


class RenderWatch:
    """The `Watch` on one render."""

    def __init__(self, renders: Renders, held: Held) -> None:
        self._renders = renders
        self._held = held

    @property
    def gpu_seconds(self) -> float:
        return self._held.gpu_seconds

    @property
    def stages(self) -> dict[str, float]:
        return dict(self._held.stages)

    @property
    def numerics(self) -> str:
        return self._held.rendered_under

    @property
    def continuity(self) -> Continuity:
        return self._held.continuity

    @property
    def resumed_at(self) -> int:
        return self._held.resumed_at

    @property
    def incidents(self) -> tuple[Incident, ...]:
        return self._held.incidents

    @property
    def prompt_tokens(self) -> int | None:
        return self._held.prompt_tokens

    def befall(self, incident: Incident) -> None:
        with self._renders.changing(urgent=True):
            self._held.befall(incident)

    def enter(self, stage: Stage) -> None:
        if self._held.cancelled:
            raise _Cancelled
        self._renders.enter(self._held, stage)

    def proceed(self) -> None:
        self._renders.await_finisher(self._held)
        if self._held.cancelled:
            raise _Cancelled
        self.moved()

    def moved(self) -> None:
        self._renders.moved(self._held)


class Finishing:
    """Finishes videos and shows previews. A context; on leaving it, everything under way is waited for."""

    def __init__(self, renders: Renders, finish: Finish, show: Show, log: BoundLogger) -> None:
        self._renders = renders
        self._finish_frames = finish
        self._show_frame = show
        self._log = log
        self._finishers = ThreadPoolExecutor(PLACES, "finish")
        self._shower = ThreadPoolExecutor(1, "show")  # its own: a preview must not hold up a video

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._finishers.shutdown()
        self._shower.shutdown()

    def finish(self, held: Held, frames: NDArray[np.uint8]) -> None:
        """Make a decoded render's frames into its video, and end it."""
        self._finishers.submit(self._finish, held, frames)

    def show(self, held: Held, frame: NDArray[np.uint8]) -> None:
        """Put one frame of what is coming into the bucket. Whatever befalls it, the render goes on."""
        self._shower.submit(self._show, held, frame)

    def _finish(self, held: Held, frames: NDArray[np.uint8]) -> None:
        watch = RenderWatch(self._renders, held)
        end: End
        try:
            watch.enter(Stage.FINISHING)
            watch.proceed()
            if (incident := ladder.implausible(frames)) is not None:
                watch.befall(incident)
            end = Rendered(result=self._finish_frames(held.assignment, frames, watch))
        except _Cancelled:
            end = Stopped(gpu_seconds=held.gpu_seconds)
        except Exception as error:
            self._log.exception("render_broke", **held.names)
            end = Broke(failure=failure_of(error), gpu_seconds=held.gpu_seconds)
        # What is stored after the end is in no row, and so would stay in the bucket for as long as the video.
        self._renders.wait_saved(held, _SAVED_WITHIN_S)
        self._renders.end(held, end)

    def _show(self, held: Held, frame: NDArray[np.uint8]) -> None:
        if held.end is not None:
            return  # it took so long to get here that there is nothing left to announce
        try:
            preview = self._show_frame(held.assignment, frame)
        except Exception:
            self._log.exception("preview_broke", **held.names)
            return
        with self._renders.changing():
            held.preview = preview
