"""Decoding of image files that strangers send, inside the graph: checked, upright, and never fatal to others.

``Preprocessor`` decodes and resizes; this module adds what a server needs around it. Every operation here is
known to TensorFlow 2.15 and later, so that an export of one stack loads on the other.
"""

from __future__ import annotations

import tensorflow as tf

from lae_tf.images.files import MAX_PIXELS
from lae_tf.model.preprocessing import Preprocessor

_HEADER = 32  # bytes; all sizes but a JPEG's stand within them
_JPEG = (0, b"\xff\xd8\xff")
_PNG = (0, b"\x89PNG\r\n\x1a\n")
_BMP = (0, b"BM")
_WEBP = (8, b"WEBP")
_LEADING_SEGMENTS = 64  # of a JPEG, among which EXIF is looked for
_LARGEST = 2**31 - 1  # of a side, so that the product of two stays within int64
_FINE, _UNKNOWN, _TOO_LARGE, _DAMAGED = range(4)
_PROBLEMS = {
    _UNKNOWN: "not a JPEG, PNG or 24-bit BMP image",
    _TOO_LARGE: f"larger than {MAX_PIXELS} pixels",
    _DAMAGED: "damaged, truncated, or of a kind that cannot be decoded here",
}


def decode_images(preprocessor: Preprocessor, data: tf.Tensor) -> tf.Tensor:
    """Decode a batch of image files as training does; EXIF orientation of JPEG files is applied.

    Files are decoded in parallel. JPEG, PNG and 24-bit BMP are read everywhere, WebP where the running
    TensorFlow can. The orientation is looked for where cameras write it, in a segment before the image data;
    other files are to be brought upright before (``lae_tf.images.files.normalise``).

    Args:
        preprocessor: of the model.
        data: string (B,).

    Returns:
        float32 (B, S, S, 3) in [0, 1].

    Raises:
        tf.errors.InvalidArgumentError: at run time, names the positions in the batch that are no such image,
            are damaged, or have over ``MAX_PIXELS`` pixels; those are told by their header, not decoded. An
            empty batch is refused too.
    """
    count = tf.size(data, tf.int64)
    tf.debugging.Assert(count > 0, ["image_bytes must hold at least one image"])
    headers = tf.cast(tf.io.decode_raw(tf.strings.substr(data, 0, _HEADER), tf.uint8, fixed_length=_HEADER), tf.int64)
    jpeg = _starts_with(headers, _JPEG)
    known, pixels = _known_formats(headers)
    blank = tf.zeros((preprocessor.image_size, preprocessor.image_size, 3))

    def decode(position: tf.Tensor) -> tuple[tf.Tensor, ...]:
        one = data[position]
        size = tf.cond(jpeg[position], lambda: _jpeg_pixels(one), lambda: pixels[position])
        image = tf.cond(
            known[position] & (size <= MAX_PIXELS), lambda: preprocessor.resize(decode_upright(one)), lambda: blank
        )
        return position, size, image

    # A file that cannot be decoded is missing from the data set, which is how its position is known. The
    # last element stands for none of them; with it the batch is never empty.
    dataset = tf.data.Dataset.range(count).map(decode, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    dataset = dataset.ignore_errors(log_warning=False)
    dataset = dataset.concatenate(tf.data.Dataset.from_tensors((count, tf.constant(0, tf.int64), blank)))
    options = tf.data.Options()
    options.autotune.enabled = False
    options.experimental_optimization.apply_default_optimizations = False
    positions, sizes, images = dataset.batch(count + 1).with_options(options).get_single_element()

    states = tf.fill(tf.reshape(count + 1, [1]), _DAMAGED)
    found = tf.where(sizes > MAX_PIXELS, _TOO_LARGE, _FINE)
    states = tf.tensor_scatter_nd_update(states, positions[:, None], found)[:-1]
    states = tf.where(known, states, _UNKNOWN)
    checks = []
    for state, problem in _PROBLEMS.items():
        wrong = tf.strings.reduce_join(tf.strings.as_string(tf.where(states == state)[:, 0]), separator=", ")
        message = tf.strings.join(["image_bytes at position ", wrong, f" of the batch: {problem}"])
        checks.append(tf.debugging.Assert(wrong == "", [message]))
    # Before the model sees that images are missing, whose complaint would not say which.
    with tf.control_dependencies(checks):
        return tf.identity(images[:-1])


def decode_upright(data: tf.Tensor) -> tf.Tensor:
    """Decode one file (string scalar) that is known to be fine: uint8 (H, W, 3)."""
    orientation = tf.cond(
        tf.strings.substr(data, 0, len(_JPEG[1])) == _JPEG[1], lambda: exif_orientation(data), lambda: tf.constant(1)
    )
    return turn_upright(Preprocessor.decode(data), orientation)


def _starts_with(headers: tf.Tensor, magic: tuple[int, bytes]) -> tf.Tensor:
    """Tell for headers (B, 32) whether they hold the magic bytes at their offset: bool (B,)."""
    offset, text = magic
    return tf.reduce_all(headers[:, offset : offset + len(text)] == list(text), axis=1)


def _number(headers: tf.Tensor, offset: int, size: int, big_endian: bool = False) -> tf.Tensor:
    """Read an unsigned integer of ``size`` bytes from each header: int64 (B,)."""
    places = range(size)[::-1] if big_endian else range(size)
    return tf.reduce_sum(headers[:, offset : offset + size] * [256**place for place in places], axis=1)


def _known_formats(headers: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return which headers are of a format that is decoded, bool (B,), and pixels, int64 (B,), 0 for JPEG."""
    png, bmp, webp = (_starts_with(headers, magic) for magic in (_PNG, _BMP, _WEBP))
    bmp &= _number(headers, 28, 2) == 24
    webp &= _starts_with(headers, (0, b"RIFF"))
    pixels = tf.zeros_like(headers[:, 0])
    pixels = tf.where(png, _area(_number(headers, 16, 4, True), _number(headers, 20, 4, True)), pixels)
    height = _number(headers, 22, 4)
    # A BMP that is stored from top to bottom has a negative height.
    height = tf.where(height > _LARGEST, 2**32 - height, height)
    pixels = tf.where(bmp, _area(_number(headers, 18, 4), height), pixels)
    pixels = tf.where(webp, _webp_pixels(headers), pixels)
    return _starts_with(headers, _JPEG) | png | bmp | webp, pixels


def _area(width: tf.Tensor, height: tf.Tensor) -> tf.Tensor:
    return tf.minimum(width, _LARGEST) * tf.minimum(height, _LARGEST)


def _webp_pixels(headers: tf.Tensor) -> tf.Tensor:
    """Area by the first chunk (RFC 9649): extended, lossless, or lossy."""
    extended = _area(_number(headers, 24, 3) + 1, _number(headers, 27, 3) + 1)
    bits = _number(headers, 21, 4)
    lossless = _area(bits % 2**14 + 1, bits // 2**14 % 2**14 + 1)
    lossy = _area(_number(headers, 26, 2) % 2**14, _number(headers, 28, 2) % 2**14)
    kind = headers[:, 15]
    return tf.where(kind == ord("X"), extended, tf.where(kind == ord("L"), lossless, lossy))


def _jpeg_pixels(data: tf.Tensor) -> tf.Tensor:
    return tf.reduce_prod(tf.cast(tf.image.extract_jpeg_shape(data)[:2], tf.int64))


def turn_upright(image: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """Undo an EXIF orientation (int32 scalar, 1 to 8) of an image (H, W, 3)."""

    def transposed() -> tf.Tensor:
        # Within the branches that need it: outside of them every image would be turned.
        return tf.transpose(image, (1, 0, 2))

    turns = [
        lambda: image,
        lambda: image[:, ::-1],
        lambda: image[::-1, ::-1],
        lambda: image[::-1],
        transposed,
        lambda: transposed()[:, ::-1],
        lambda: transposed()[::-1, ::-1],
        lambda: transposed()[::-1],
    ]
    return tf.switch_case(orientation - 1, turns)


def exif_orientation(data: tf.Tensor) -> tf.Tensor:
    """Read the orientation tag of a JPEG (string scalar) from its EXIF segment, among the leading ones.

    Returns:
        int32 scalar, 1 (upright) to 8 as EXIF 2.3 defines them; 1 where there is none or it makes no sense.
    """
    length = tf.strings.length(data)

    def read(position: tf.Tensor) -> tf.Tensor:
        """Return a segment's marker, length and the first six bytes of its content, int32 (10,)."""
        # Past the end stands nothing: zeros.
        text = tf.strings.substr(data, tf.minimum(position, length), 10)
        return tf.cast(tf.io.decode_raw(text, tf.uint8, fixed_length=10), tf.int32)

    def searching(position: tf.Tensor) -> tf.Tensor:
        segment = read(position)
        application = (segment[1] >= 0xE0) & (segment[1] <= 0xEF) | (segment[1] == 0xFE)
        return (segment[0] == 0xFF) & application & tf.reduce_any(segment[4:] != list(b"Exif\0\0"))

    def following(position: tf.Tensor) -> tuple[tf.Tensor]:
        segment = read(position)
        return (position + 2 + tf.maximum(2, segment[2] * 256 + segment[3]),)

    # Cameras write EXIF first; a file of nothing but segments must not occupy a server.
    position = tf.while_loop(searching, following, (tf.constant(2),), maximum_iterations=_LEADING_SEGMENTS)[0]
    segment = read(position)
    found = tf.reduce_all(segment[4:] == list(b"Exif\0\0"))
    return tf.cond(
        found,
        lambda: _tiff_orientation(tf.strings.substr(data, position + 10, segment[2] * 256 + segment[3] - 8)),
        lambda: tf.constant(1),
    )


def _tiff_orientation(block: tf.Tensor) -> tf.Tensor:
    """Look the tag up in the first directory of a TIFF block (string scalar)."""
    values = tf.cast(tf.io.decode_raw(tf.strings.join([block, "\0" * 8]), tf.uint8), tf.int64)
    size = tf.size(values, tf.int64) - 8
    # "II" for numbers with the low byte first, "MM" for the other way round.
    low_first = values[0] == ord("I")

    def number(digits: tf.Tensor, count: int) -> tf.Tensor:
        places = [256**place for place in range(count)]
        # Two constants: grappler takes one that is reversed for a shape, and gives up on its optimisations.
        weights = tf.where(low_first, tf.constant(places, tf.int64), tf.constant(places[::-1], tf.int64))
        return tf.reduce_sum(digits * weights, axis=-1)

    start = tf.minimum(number(values[4:8], 4), size)
    count = tf.minimum(number(values[start : start + 2], 2), tf.maximum(size - start - 2, 0) // 12)
    entries = tf.reshape(values[start + 2 : start + 2 + 12 * count], (-1, 12))
    # 0x0112 is the tag, 3 a number of 16 bits.
    wanted = (number(entries[:, 0:2], 2) == 0x0112) & (number(entries[:, 2:4], 2) == 3)
    orientations = tf.boolean_mask(number(entries[:, 8:10], 2), wanted)
    orientations = tf.boolean_mask(orientations, (orientations >= 1) & (orientations <= 8))
    return tf.cast(tf.concat([orientations, [1]], axis=0)[0], tf.int32)
