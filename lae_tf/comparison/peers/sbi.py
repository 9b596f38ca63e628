"""Self-blended images with an EfficientNet (Shiohara and Yamasaki 2022, arXiv 2204.08376)."""

from __future__ import annotations

import keras

from lae_tf.comparison.peers.efficientnet_lite import EfficientNetLite


@keras.saving.register_keras_serializable("lae_tf")
class SelfBlendedImages(EfficientNetLite):
    """An EfficientNet trained on real images and on forgeries made from them, never on a data set's fakes.

    Deviations: Lite0 to stride 16, LAE's trunk, in place of B4, from ImageNet's weights as there; the forgeries are
    those that LAE trains on too (``lae_tf.forge.on_the_fly``, regions of any shape and more kinds of change than the
    paper's), not blends inside facial landmarks; AdamW in place of SAM, as for all peers.
    """

    reals_alone = True
