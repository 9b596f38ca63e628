"""What a file holds, by its first bytes: suffixes are lost, changed and misspelt."""

from __future__ import annotations

import os
from enum import Enum

from lae_tf.images.files import SUFFIXES, reads_as_image
from lae_tf.images.headers import TIFF_STARTS
from lae_tf.video.frames import SUFFIXES as VIDEO_SUFFIXES

_HEAD = 512
# Other suffixes of the formats that are read: a file so called that holds none of them is worth a word.
_OTHER_NAMES = (".jfif", ".jpe", ".jif", ".jfi", ".pjpeg", ".pjp", ".apng", ".dib", ".mpo")
_FOREIGN_SUFFIXES = (
    *(".heic", ".heif", ".hif", ".avif", ".jxl", ".jp2", ".j2k", ".jpf", ".jpx", ".psd", ".psb", ".exr", ".tga"),
    *(".pbm", ".pgm", ".ppm", ".pnm", ".dng", ".nef", ".nrw", ".cr2", ".cr3", ".crw", ".arw", ".srf", ".sr2"),
    *(".orf", ".rw2", ".raf", ".pef", ".srw", ".x3f", ".3fr", ".iiq", ".erf", ".kdc", ".dcr", ".mef", ".mos"),
)
_FOREIGN_STARTS = (
    *(b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51", b"\0\0\0\x0cJXL \r\n\x87\n", b"8BPS\0", b"v/1\x01"),
    *(b"#?RADIANCE", b"DDS |\0\0\0", b"gimp xcf ", b"FUJIFILMCCD-RAW", b"FOVb", b"IIRO", b"IIU\0"),
)
_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1", b"avif", b"avis", b"crx ")
_SOUND_BRANDS = (b"M4A ", b"M4B ", b"M4P ")
_VIDEO_STARTS = (b"\x1aE\xdf\xa3", b"0&\xb2u\x8ef\xcf\x11", b"FLV\x01", b"\0\0\x01\xba", b"\0\0\x01\xb3")


class Content(Enum):
    """What a file is to this package."""

    IMAGE = "image"
    VIDEO = "video"
    UNREADABLE = "image of a format that is not read here"
    OTHER = "something else"


def content_of(path: str) -> Content:
    """Tell what a regular file holds: by its suffix where that is one of those known, else by its first bytes.

    A camera's raw file and other kinds of TIFF count as unreadable unless they are called TIFF, or nothing: the first
    image in them is often a thumbnail.

    Raises:
        OSError: the file has another suffix and cannot be read.
    """
    name = os.path.basename(path).lower()
    suffix = os.path.splitext(name)[1]
    if name.endswith(SUFFIXES):
        return Content.IMAGE
    if name.endswith(VIDEO_SUFFIXES):
        return Content.VIDEO
    # What became a pipe meanwhile must not make anybody wait.
    with open(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb") as file:
        head = file.read(_HEAD)
    if head.startswith(TIFF_STARTS):
        return Content.IMAGE if suffix == "" or suffix.startswith(".tif") else Content.UNREADABLE
    if reads_as_image(head):
        return Content.IMAGE
    if head.startswith(_FOREIGN_STARTS) or (head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS):
        return Content.UNREADABLE
    if _is_video(head):
        return Content.VIDEO
    return Content.UNREADABLE if is_picture_suffix(suffix) else Content.OTHER


def is_picture_suffix(suffix: str) -> bool:
    """Whether a suffix, in small letters, is that of a picture in any format, whether read here or not."""
    return suffix in SUFFIXES or suffix in _OTHER_NAMES or suffix in _FOREIGN_SUFFIXES


def _is_video(head: bytes) -> bool:
    if head[4:8] == b"ftyp":
        return head[8:12] not in _SOUND_BRANDS
    if head[:4] == b"RIFF":
        return head[8:12] == b"AVI "
    packets = head[:1] == b"G" and (head[188:189] == head[376:377] == b"G")  # MPEG-TS; with time stamps M2TS
    stamped = head[4:5] == b"G" and (head[196:197] == head[388:389] == b"G")
    return packets or stamped or head.startswith(_VIDEO_STARTS)
