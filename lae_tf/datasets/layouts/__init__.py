"""Known data sets: from a folder as it was published, or as ``lae-tf frames`` left it, to a manifest."""

from lae_tf.datasets.layouts.building import LAYOUTS, Built, Options, build_manifest

__all__ = ["LAYOUTS", "Built", "Options", "build_manifest"]
