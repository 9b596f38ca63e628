"""Small videos, written on the spot, whose frames can be told apart."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

WIDTH, HEIGHT = 64, 48
_IDENTITY = (0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
_TURNED = {
    1: (0, 0x10000, 0, -0x10000, 0, 0, 0, 0, 0x40000000),
    2: (-0x10000, 0, 0, 0, -0x10000, 0, 0, 0, 0x40000000),
    3: (0, -0x10000, 0, 0x10000, 0, 0, 0, 0, 0x40000000),
}


def write_video(path: Path, frames=12, keys=4, times=None, options=None, corner=False, quarter=0, images=None) -> Path:
    """Write 10 frames a second, frame i of the grey level 8 + 4 i; or at ``times`` in milliseconds, or ``images``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4" if path.suffix == ".avi" else "libx264", rate=10)
        stream.options = {"crf": "8", "bf": "0", **(options or {})} if path.suffix != ".avi" else {"qscale": "2"}
        stream.codec_context.gop_size = keys
        stream.pix_fmt = "yuv420p"
        if images is None:
            images = [picture(i, corner) for i in range(frames)]
        stream.height, stream.width = images[0].shape[:2]
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for i, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts = i if times is None else times[i]
            frame.time_base = Fraction(1, 10) if times is None else Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    if quarter:
        data = path.read_bytes()
        start = data.index(b"tkhd")
        place = data.index(_matrix(_IDENTITY), start)
        path.write_bytes(data[:place] + _matrix(_TURNED[quarter]) + data[place + 36 :])
    return path


def picture(index: int, corner: bool = False) -> np.ndarray:
    image = np.full((HEIGHT, WIDTH, 3), 8 + 4 * index, np.uint8)
    if corner:
        image[:16, :32] = (220, 40, 40)
    return image


def level(image: np.ndarray) -> int:
    """Return the number of the frame that :func:`picture` made."""
    return round((float(image.mean()) - 8) / 4)


def _matrix(values) -> bytes:
    return b"".join(int(value).to_bytes(4, "big", signed=value < 0) for value in values)
