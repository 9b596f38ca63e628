"""Masks as pixels, run lengths and polygons, and from the difference of two images."""
