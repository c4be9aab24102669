"""Which workers there should be, how they stand, and which pools are paused."""
