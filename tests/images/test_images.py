"""Image files of any origin; Pillow and TensorFlow are each other's oracle."""

import io
import os
import struct
import warnings
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from lae_tf.data.ingestion import ingest
from lae_tf.errors import ImageError, ProblemsError
from lae_tf.images import files as images
from lae_tf.images.files import normalise, read_image, read_mask, write_png

PIXELS = cv2.resize(
    np.random.default_rng(0).integers(0, 256, (9, 13, 3), dtype=np.uint8),
    (52, 35),
    interpolation=cv2.INTER_CUBIC,
)
ALPHA = np.random.default_rng(1).integers(0, 256, PIXELS.shape[:2], dtype=np.uint8)
RGB = Image.fromarray(PIXELS)
RGBA = Image.fromarray(np.dstack([PIXELS, ALPHA]))


def encode(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def rotated(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def decode_in_graph(data):
    """As the exported model decodes; the accurate DCT is the one that Pillow uses too."""
    return tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE").numpy()


def png_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_header(width, height):
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header


UNCHANGED = {
    "jpeg": encode(RGB, "JPEG", quality=90),
    "jpeg 4:4:4 q100": encode(RGB, "JPEG", quality=100, subsampling=0),
    "jpeg progressive": encode(RGB, "JPEG", progressive=True),
    "jpeg grey": encode(RGB.convert("L"), "JPEG"),
    "jpeg cmyk": encode(RGB.convert("CMYK"), "JPEG"),
    "jpeg upright by tag": encode(RGB, "JPEG", exif=rotated(1)),
    "jpeg with bytes behind": encode(RGB, "JPEG") + b"\0" * 40,
    "mpo": encode(RGB, "MPO", save_all=True, append_images=[RGB.rotate(180)]),
    "png": encode(RGB, "PNG"),
    "png rgba": encode(RGBA, "PNG"),
    "png grey alpha": encode(RGBA.convert("LA"), "PNG"),
    "png grey": encode(RGB.convert("L"), "PNG"),
    "png 1 bit": encode(RGB.convert("1"), "PNG"),
    "png palette": encode(RGB.quantize(64), "PNG"),
    "png palette transparent": encode(RGB.quantize(64), "PNG", transparency=bytes(10) + b"\xff" * 54),
    "png rgb transparent": encode(RGB, "PNG", transparency=(1, 2, 3)),
    "png 48 bit": cv2.imencode(".png", PIXELS[..., ::-1].astype(np.uint16) * 257)[1].tobytes(),
    "png animated": encode(RGB, "PNG", save_all=True, append_images=[RGB.rotate(180)]),
}
_PALETTE = encode(RGB.quantize(64), "PNG")
_PALETTE_CHUNK = _PALETTE[_PALETTE.index(b"PLTE") - 4 : _PALETTE.index(b"IDAT") - 4]
_PNG = UNCHANGED["png"]
REENCODED = {
    # What Pillow reads and libpng refuses.
    "png two headers": _PNG[:33] + _PNG[8:33] + _PNG[33:],
    "png two palettes": _PALETTE.replace(_PALETTE_CHUNK, 2 * _PALETTE_CHUNK),
    "png unknown critical chunk": _PNG[:33] + png_chunk(b"XxXx", b"?") + _PNG[33:],
    "webp": encode(RGB, "WEBP", lossless=True),
    "webp alpha": encode(RGBA, "WEBP", lossless=True, exact=True),
    "tiff": encode(RGB, "TIFF"),
    "tiff lzw": encode(RGB, "TIFF", compression="tiff_lzw"),
    "gif": encode(RGB, "GIF", save_all=True, append_images=[RGB.rotate(180)]),
    "bmp": encode(RGB, "BMP"),
    "bmp palette": encode(RGB.quantize(64), "BMP"),
    "bmp 32": encode(RGBA, "BMP"),
    **{f"jpeg orientation {k}": encode(RGB, "JPEG", exif=rotated(k)) for k in range(2, 9)},
    **{f"tiff orientation {k}": encode(RGB, "TIFF", exif=rotated(k)) for k in (3, 6)},
    "png orientation 6": encode(RGB, "PNG", exif=rotated(6)),
    "webp orientation 5": encode(RGB, "WEBP", lossless=True, exif=rotated(5)),
}


def pillow(data):
    with Image.open(io.BytesIO(data)) as image:
        upright = ImageOps.exif_transpose(image)
        return np.asarray(upright.convert("RGBA").convert("RGB") if upright.mode == "P" else upright.convert("RGB"))


@pytest.mark.parametrize("name", UNCHANGED)
def test_files_the_graph_decodes_pass_unchanged_and_give_pillows_pixels(name):
    data = UNCHANGED[name]
    assert normalise(data, name) is data
    np.testing.assert_array_equal(decode_in_graph(data), pillow(data))


@pytest.mark.parametrize("name", REENCODED)
def test_other_files_become_png_with_pillows_pixels(name):
    result = normalise(REENCODED[name], name)
    assert result.startswith(b"\x89PNG")
    np.testing.assert_array_equal(decode_in_graph(result), pillow(REENCODED[name]))


@pytest.mark.parametrize("name", [*UNCHANGED, *REENCODED])
def test_read_image_sees_what_the_graph_sees(name, tmp_path):
    data = {**UNCHANGED, **REENCODED}[name]
    (tmp_path / "file").write_bytes(data)
    np.testing.assert_array_equal(read_image(tmp_path / "file"), decode_in_graph(normalise(data, name)))


def test_alpha_is_dropped_not_composited(tmp_path):
    for kind in ("PNG", "TIFF"):
        RGBA.save(tmp_path / "image", kind)
        np.testing.assert_array_equal(read_image(tmp_path / "image"), PIXELS)


def test_sixteen_bits_become_the_upper_eight(tmp_path):
    values = np.random.default_rng(2).integers(0, 65536, (20, 30)).astype(np.uint16)
    for kind in ("PNG", "TIFF"):
        Image.fromarray(values).save(tmp_path / "image", kind)
        data = (tmp_path / "image").read_bytes()
        np.testing.assert_array_equal(read_image(tmp_path / "image")[..., 0], values // 256)
        np.testing.assert_array_equal(decode_in_graph(normalise(data, kind))[..., 2], values // 256)


def test_cmyk_without_adobe_marker_goes_through_pillow():
    data = UNCHANGED["jpeg cmyk"]
    assert data[2:4] == b"\xff\xee"
    plain = data[:2] + data[4 + int.from_bytes(data[4:6], "big") :]
    np.testing.assert_array_equal(decode_in_graph(normalise(plain, "cmyk")), pillow(plain))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is empty"),
        (b"hello", "is not a JPEG, PNG"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "is not a JPEG, PNG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is not a JPEG, PNG"),
        (b"RIFF\x24\0\0\0WAVEfmt ", "is not a JPEG, PNG"),
        (UNCHANGED["jpeg"][:200], "damaged"),
        (UNCHANGED["jpeg"][:-200], "truncated"),
        (UNCHANGED["png"][:-100], "truncated"),
        (UNCHANGED["png"][:-3], "truncated"),
        (REENCODED["webp"][:-100], "damaged"),
        (REENCODED["tiff"][:-2000], "truncated"),
        (REENCODED["gif"][:40], "damaged"),
        (b"\xff\xd8\xff", "damaged"),
        (b"BM", "damaged"),
        (png_header(1_500_000, 4) + png_chunk(b"IDAT", b"") + png_chunk(b"IEND", b""), "a side over the limit"),
        (png_header(0, 5) + png_chunk(b"IEND", b""), "is damaged|no pixels"),
        (encode(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"), "32-bit values"),
    ],
)
def test_unusable_data_is_refused_by_name(data, reason):
    with pytest.raises(ImageError, match=reason) as caught:
        normalise(data, "holiday.jpg")
    assert "holiday.jpg" in str(caught.value)


def test_decompression_bomb_is_refused_from_its_header_without_a_warning(monkeypatch):
    claims = png_header(60_000, 60_000) + png_chunk(b"IDAT", b"") + png_chunk(b"IEND", b"")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ImageError, match="60000 x 60000 pixels, more than the limit"):
            normalise(claims, "bomb.png")
        # Pillow alone would warn of this one, which is within our limit
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
        assert normalise(UNCHANGED["png"], "fine.png")
        monkeypatch.setattr(images, "MAX_PIXELS", PIXELS.shape[0] * PIXELS.shape[1] - 1)
        with pytest.raises(ImageError, match="52 x 35 pixels"):
            normalise(UNCHANGED["png"], "large.png")


@settings(max_examples=150, deadline=None)
@given(st.sampled_from([*UNCHANGED.values(), *REENCODED.values()]), st.data())
def test_damaged_files_are_refused_or_decode_in_the_graph(data, draw):
    damaged = bytearray(data)
    for _ in range(draw.draw(st.integers(0, 3))):
        damaged[draw.draw(st.integers(0, len(damaged) - 1))] = draw.draw(st.integers(0, 255))
    damaged = bytes(damaged[: draw.draw(st.integers(len(damaged) - 20, len(damaged)))])
    try:
        usable = normalise(damaged, "damaged")
    except ImageError:
        return
    assert decode_in_graph(usable).shape[2] == 3


@pytest.mark.parametrize("values", [(0, 1), (0, 255), (0, 200), (127, 128)])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "1", "I;16"])
def test_masks_of_any_mode_read_as_zero_and_one(tmp_path, values, mode):
    forged = np.random.default_rng(3).random((12, 16)) < 0.4
    low, high = values
    if mode == "I;16":
        low, high = (low, high) if high == 1 else (low * 257, high * 257)
        image = Image.fromarray(np.where(forged, high, low).astype(np.uint16))
    elif mode == "1":
        image = Image.fromarray(forged)
    elif mode == "P":
        image = Image.new("P", (16, 12))
        image.putdata(forged.astype(np.uint8).ravel().tolist())
        image.putpalette([low] * 3 + [high] * 3)
    else:
        image = Image.fromarray(np.where(forged, high, low).astype(np.uint8)).convert(mode)
    image.save(tmp_path / "mask.png")
    mask = read_mask(tmp_path / "mask.png")
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, forged)


@pytest.mark.parametrize("high", [1, 255, 65535])
@pytest.mark.parametrize(("kind", "mode"), [("TIFF", "I;16"), ("TIFF", "I;16B"), ("PNG", "I;16"), ("TIFF", "L")])
@pytest.mark.parametrize("orientation", [1, 6])
def test_masks_are_not_scaled_on_their_way_through_the_cache(tmp_path, high, kind, mode, orientation):
    forged = np.random.default_rng(3).random((12, 16)) < 0.4
    dtype = {"I;16": "<u2", "I;16B": ">u2", "L": "u1"}[mode]
    values = np.where(forged, min(high, np.iinfo(dtype).max), 0).astype(dtype)
    image = Image.frombytes(mode, (16, 12), values.tobytes())
    image.save(tmp_path / "mask", kind, exif=rotated(orientation))
    (used,) = ingest([tmp_path / "mask"], tmp_path / "cache", progress=False)
    # Orientation 6: the first row is the right-hand side.
    np.testing.assert_array_equal(read_mask(used), forged if orientation == 1 else np.rot90(forged, -1))


def test_masks_all_zero_all_one_or_of_a_dark_colour(tmp_path):
    write_png(tmp_path / "m.png", np.zeros((3, 5), np.uint8))
    assert read_mask(tmp_path / "m.png").sum() == 0
    write_png(tmp_path / "m.png", np.full((3, 5), 255, np.uint8))
    assert read_mask(tmp_path / "m.png").sum() == 15
    red = np.zeros((3, 5, 3), np.uint8)
    red[:2, :, 0] = 255
    write_png(tmp_path / "m.png", red)
    assert read_mask(tmp_path / "m.png").sum() == 10


def test_write_png_is_lossless_and_leaves_nothing_behind_when_it_fails(tmp_path):
    write_png(tmp_path / "new" / "a.png", PIXELS)
    np.testing.assert_array_equal(read_image(tmp_path / "new" / "a.png"), PIXELS)
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError):
        write_png(tmp_path / "taken", PIXELS)
    assert sorted(os.listdir(tmp_path)) == ["new", "taken"]


def test_ingest_keeps_good_files_and_caches_the_others_once(tmp_path):
    (tmp_path / "a.jpg").write_bytes(UNCHANGED["jpeg"])
    (tmp_path / "b.webp").write_bytes(REENCODED["webp"])
    (tmp_path / "same.webp").write_bytes(REENCODED["webp"])
    os.symlink(tmp_path / "a.jpg", tmp_path / "link.jpg")
    paths = [tmp_path / name for name in ("b.webp", "a.jpg", "same.webp", "link.jpg")]
    cache = tmp_path / "cache"

    used = ingest(paths, cache, progress=False)

    assert used[1] == str(tmp_path / "a.jpg") and used[3] == str(tmp_path / "link.jpg")
    assert used[0] == used[2] and used[0].startswith(str(cache)) and used[0].endswith(".png")
    np.testing.assert_array_equal(decode_in_graph(Path(used[0]).read_bytes()), PIXELS)

    before = os.stat(used[0]).st_mtime_ns
    assert ingest(paths, cache, progress=False) == used
    assert os.stat(used[0]).st_mtime_ns == before
    os.unlink(used[0])  # a cache that was cleaned out is filled again
    assert ingest(paths, cache, progress=False) == used and os.path.exists(used[0])


def test_ingest_notices_that_a_file_changed(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(UNCHANGED["jpeg"])
    assert ingest([path], tmp_path / "cache", progress=False) == [str(path)]
    path.write_bytes(UNCHANGED["jpeg"][:-100])
    with pytest.raises(ProblemsError, match="truncated"):
        ingest([path], tmp_path / "cache", progress=False)


def test_ingest_names_every_bad_file_without_hanging(tmp_path):
    (tmp_path / "good.jpg").write_bytes(UNCHANGED["jpeg"])
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    os.symlink(tmp_path / "nowhere", tmp_path / "dangling.png")
    names = ["text.png", "folder.png", "good.jpg", "pipe.png", "dangling.png", "absent.png"]
    with pytest.raises(ProblemsError) as caught:
        ingest([tmp_path / name for name in names], tmp_path / "cache", progress=False)
    bad = [name for name in names if name != "good.jpg"]
    assert len(caught.value.problems) == len(bad)
    for name, problem in zip(bad, caught.value.problems, strict=True):
        assert name in problem
