"""What runs on a GPU: the Ray actor, the engine it feeds, and the artifacts it makes."""
