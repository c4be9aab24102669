"""From rendered frames to the delivered files: interpolated, cropped, scaled, marked, encoded, signed."""

from workers.finish.finisher import Finished, Finisher

__all__ = ["Finished", "Finisher"]
