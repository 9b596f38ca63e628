"""Data sets as they are published, recorded or forged, made into manifests."""

DEFAULT_FORGERIES = ("splice", "copy-move", "inpaint-telea", "inpaint-ns", "self-blend")
"""Methods that real images are forged with where none are named: none needs a face."""
