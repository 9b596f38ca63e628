"""Annotation: from the selected images to masks drawn by people, and back into the manifest.

Knows nothing of TensorFlow. ``round`` reads what a selection asked for, ``app`` is the page in the browser,
``label_studio``, ``coco`` and ``png`` exchange images and masks with other tools, ``import_masks`` checks
masks and brings them into the manifest, ``differencing`` makes masks where the untouched source is at hand.

A mask is uint8 (H, W) in {0, 1}, 1 where forged, of the size of its (upright) image. An image judged not to
be a fake is a verdict of its own, never an empty mask.
"""
