"""Many requests in one file: asked for, taken in, submitted, answered."""
