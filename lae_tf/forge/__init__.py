"""Forgeries with exact masks, made from real images alone."""

from lae_tf.forge.methods import AREA, METHODS, Method, find_method, forge_image, generator
from lae_tf.forge.post_processing import PostProcessing, post_process

__all__ = [
    "AREA",
    "METHODS",
    "Method",
    "PostProcessing",
    "find_method",
    "forge_image",
    "generator",
    "post_process",
]
