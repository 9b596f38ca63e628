"""Frames of videos, and the faces in them."""
