"""Cogmill's control plane: a request becomes a row, the row a claim, the claim a video."""
