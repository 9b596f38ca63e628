"""Run-length codes of masks: Label Studio's brush strokes and COCO's.

Label Studio stores the RGBA bytes of a canvas, row by row, in the bit stream of ``rle-pack``
(https://github.com/thi-ng/umbrella/tree/develop/packages/rle-pack): 32 bits count of elements, 5 bits word
size - 1, four times 4 bits run size - 1; then blocks of 1 bit (1 = one value repeated, 0 = that many values),
2 bits choice of run size, run size bits length - 1, value(s). Forged is where alpha is above 0.

COCO counts pixels column by column, starting with the untouched ones, as a list or as text of 5 bits a
character (https://github.com/cocodataset/cocoapi, maskApi.c, rleToString).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lae_tf.errors import LAEError

_WORD_SIZE = 8
_RUN_SIZES = np.array([3, 4, 8, 16])
_CHANNELS = 4
_HEADER_BITS = 53


class RLEError(LAEError):
    """A run-length code that is damaged or of another size than it says."""


def encode_brush(mask: np.ndarray) -> list[int]:
    """Encode a mask as Label Studio's brush does.

    Args:
        mask: (H, W), nonzero where forged.

    Returns:
        Bytes, each in [0, 255].
    """
    values, lengths = _runs(np.asarray(mask).ravel() != 0)
    values, lengths = _split(values, lengths * _CHANNELS, 1 << int(_RUN_SIZES[-1]))
    choice = np.searchsorted(1 << _RUN_SIZES, lengths)
    size = _RUN_SIZES[choice]
    head = (0b100 | choice)[:, None] >> np.arange(2, -1, -1) & 1
    # Lengths are written into the widest field; only the last `size` bits of it are kept.
    positions = np.arange(_RUN_SIZES[-1] - 1, -1, -1)
    length = (lengths - 1)[:, None] >> positions & 1
    value = np.repeat(values[:, None], _WORD_SIZE, axis=1)
    bits = np.concatenate([head, length, value], axis=1)
    kept = np.ones(bits.shape, dtype=bool)
    kept[:, 3 : 3 + len(positions)] = positions < size[:, None]
    numbers = [(mask.size * _CHANNELS, 32), (_WORD_SIZE - 1, 5), *((int(run) - 1, 4) for run in _RUN_SIZES)]
    header = [int(bit) for number, width in numbers for bit in f"{number:0{width}b}"]
    stream = np.concatenate([np.array(header), bits[kept]]).astype(np.uint8)
    return [int(byte) for byte in np.packbits(stream)]


def decode_brush(rle: Sequence[int], height: int, width: int) -> np.ndarray:
    """Decode a brush stroke of Label Studio, block by block.

    Args:
        rle: bytes, each in [0, 255].
        height: of the image in pixels.
        width: of the image in pixels.

    Returns:
        uint8 (height, width) in {0, 1}.

    Raises:
        RLEError: the code is damaged, or not of height * width pixels.
    """
    try:
        data = bytes(list(rle))  # of a number, bytes() would make that many zeros
    except (TypeError, ValueError):
        raise RLEError("the brush stroke is not a list of bytes") from None
    total = height * width * _CHANNELS
    bits = 8 * len(data)
    if bits < _HEADER_BITS:
        raise RLEError("the brush stroke is truncated")

    def read(position: int, count: int) -> int:
        last = position + count
        chunk = int.from_bytes(data[position >> 3 : (last + 7) >> 3], "big")
        return chunk >> (-last & 7) & ((1 << count) - 1)

    if read(0, 32) != total:
        raise RLEError(f"the brush stroke has {read(0, 32)} values, expected {total} ({width} x {height} pixels, RGBA)")
    word = read(32, 5) + 1
    sizes = [read(37 + 4 * number, 4) + 1 for number in range(4)]
    values: list[np.ndarray] = []
    lengths: list[np.ndarray] = []
    stream = np.unpackbits(np.frombuffer(data, np.uint8))
    position, done = _HEADER_BITS, 0
    while done < total:
        if position + 3 > bits:
            raise RLEError("the brush stroke is truncated")
        repeated = read(position, 1)
        size = sizes[read(position + 1, 2)]
        length = read(position + 3, size) + 1
        position += 3 + size
        words = 1 if repeated else length
        end = position + words * word
        if end > bits or done + length > total:
            raise RLEError("the brush stroke is truncated or damaged")
        # Whether a value is zero is all that counts.
        values.append(np.any(stream[position:end].reshape(words, word), axis=1))
        lengths.append(np.array([length]) if repeated else np.ones(length, dtype=int))
        position, done = end, done + length
    if not values:
        return np.zeros((height, width), np.uint8)
    flat = np.repeat(np.concatenate(values), np.concatenate(lengths))
    return flat.reshape(height, width, _CHANNELS)[:, :, -1].astype(np.uint8)


def encode_coco(mask: np.ndarray) -> dict[str, list[int]]:
    """Encode a mask as COCO's uncompressed code.

    Args:
        mask: (H, W), nonzero where forged.

    Returns:
        ``size`` [H, W] and ``counts``, lengths of alternating runs, untouched first.
    """
    values, lengths = _runs(np.asarray(mask).ravel(order="F") != 0)
    counts = [int(length) for length in lengths]
    if len(values) and values[0]:
        counts.insert(0, 0)
    return {"size": [int(side) for side in mask.shape], "counts": counts}


def decode_coco(counts: Sequence[int] | str, height: int, width: int) -> np.ndarray:
    """Decode COCO's code.

    Args:
        counts: lengths of runs, or the compressed text.
        height: of the image in pixels.
        width: of the image in pixels.

    Returns:
        uint8 (height, width) in {0, 1}.

    Raises:
        RLEError: the code is damaged, or not of height * width pixels.
    """
    numbers = _decompress(counts) if isinstance(counts, str) else list(counts)
    if not all(isinstance(number, int) and number >= 0 for number in numbers):
        raise RLEError("a COCO run-length code holds whole numbers from 0 on, and this one does not")
    if sum(numbers) != height * width:
        raise RLEError(
            f"the COCO run-length code covers {sum(numbers)} pixels, expected {height * width} ({width} x {height})"
        )
    values = np.arange(len(numbers), dtype=np.uint8) & 1
    return np.repeat(values, np.array(numbers, dtype=np.int64)).reshape(height, width, order="F")


def compress(counts: Sequence[int]) -> str:
    """Return COCO's compressed text of the lengths of runs: a tenth of the list, and what COCO's own tools write.

    See :func:`_decompress` for the code.
    """
    characters: list[str] = []
    for position, count in enumerate(counts):
        number = count - counts[position - 2] if position > 2 else count
        more = True
        while more:
            digit = number & 31
            number >>= 5
            # The last digit must carry the sign in its highest bit.
            more = number != (-1 if digit & 16 else 0)
            characters.append(chr(48 + digit + 32 * more))
    return "".join(characters)


def _decompress(text: str) -> list[int]:
    """Return the counts of compressed COCO text.

    Each number is little-endian in 5-bit digits, bit 6 says that more follow, the last digit carries the
    sign; from the fourth number on the difference to the one before the last is stored.
    """
    numbers: list[int] = []
    number = shift = 0
    for character in text:
        digit = ord(character) - 48
        if not 0 <= digit < 64 or shift > 60:
            raise RLEError("the compressed COCO run-length code is damaged")
        number |= (digit & 31) << shift
        shift += 5
        if digit & 32:
            continue
        if digit & 16:
            number -= 1 << shift
        if len(numbers) > 2:
            number += numbers[-2]
        numbers.append(number)
        number = shift = 0
    if shift:
        raise RLEError("the compressed COCO run-length code is truncated")
    return numbers


def _runs(flat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return values and lengths of the runs of a bool array (N,)."""
    starts = np.flatnonzero(np.diff(flat, prepend=~flat[:1]))
    return flat[starts].astype(int), np.diff(starts, append=flat.size)


def _split(values: np.ndarray, lengths: np.ndarray, longest: int) -> tuple[np.ndarray, np.ndarray]:
    """Cut runs so that none is longer than ``longest``."""
    parts = -(-lengths // longest)
    cut = np.full(parts.sum(), longest)
    cut[np.cumsum(parts) - 1] = lengths - (parts - 1) * longest
    return np.repeat(values, parts), cut
