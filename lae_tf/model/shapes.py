"""The static shapes of a layer's tensors."""

Shape = tuple[int | None, int, int, int]
"""Batch, which may not be known yet, height, width and channels."""
