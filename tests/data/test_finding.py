"""Walking folders: nothing hidden is taken, nothing that looks like an image is lost in silence, nothing blocks."""

import os
import socket

import numpy as np
import pytest
from PIL import Image

from lae_tf.annotation.deriving import derive_masks
from lae_tf.data.finding import find_images, find_videos, images_below, search, videos_among
from lae_tf.data.manifest import Manifest
from lae_tf.datasets.extraction import Cropping, extract
from lae_tf.datasets.forging import ForgeOptions, forge_folder
from lae_tf.errors import ImageError, ManifestError, UsageError
from lae_tf.explain.known_masks import truth_from_folder
from lae_tf.files.walking import subfolders
from lae_tf.images.files import write_png
from lae_tf.masks.differencing import Differencing
from lae_tf.predict.pools.pool import Pool
from lae_tf.video.frames import Selection

PICTURE = np.tile(np.arange(60, 160, 5, dtype=np.uint8)[:, None, None], (1, 24, 3))
HEIC = b"\0\0\0\x18ftypheic\0\0\0\0"
RAW = b"II*\0\x10\0\0\0CR\x02\0"


def save(path, kind="PNG"):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        Image.fromarray(PICTURE).save(file, kind)
    return path


def below(folder, paths):
    return [os.path.relpath(path, folder) for path in paths]


class TestContent:
    @pytest.mark.parametrize(
        ("name", "kind"),
        [
            ("photo.jfif", "JPEG"),
            ("photo.jpe", "JPEG"),
            ("photo.JPG_large", "JPEG"),
            ("photo", "JPEG"),
            ("photo.jpg~", "JPEG"),
            ("photo.txt", "PNG"),
            ("photo.dib", "BMP"),
            ("photo.v2", "GIF"),
            ("photo.orig", "WEBP"),
            ("photo", "TIFF"),
            ("photo.TIF_1", "TIFF"),
        ],
    )
    def test_images_by_any_name(self, tmp_path, name, kind):
        path = save(tmp_path / name, kind)
        left_out = []
        assert find_images([str(tmp_path)], left_out) == [str(path)] and not left_out

    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("a.heic", HEIC),
            ("a", HEIC),
            ("a.avif", b"\0\0\0\x20ftypavif"),
            ("a.jp2", b"\0\0\0\x0cjP  \r\n\x87\n"),
            ("a.psd", b"8BPS\0\x01"),
            ("a.CR2", RAW),
            ("a.nef", b"MM\0*\0\0"),
            ("a.svs", RAW),
            ("a.jfif", b""),
            ("a.ppm", b"P6 1 1 255 abc"),
            ("a.cr3", b"\0\0\0\x18ftypcrx "),
        ],
    )
    def test_images_that_are_not_read_are_named(self, tmp_path, name, content):
        save(tmp_path / "b.png")
        (tmp_path / name).write_bytes(content)
        left_out = []
        assert below(tmp_path, find_images([str(tmp_path)], left_out)) == ["b.png"]
        assert [one.path for one in left_out] == [str(tmp_path / name)]
        assert left_out[0].sentence.startswith(f"{tmp_path / name}: is not a JPEG")

    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("cars.txt", b"BMW, Audi, Volkswagen and many more"),
            ("a.json", b"{}"),
            ("Thumbs.db", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"),
            ("a.wav", b"RIFF\0\0\0\0WAVEfmt "),
            ("a.m4a", b"\0\0\0\x18ftypM4A "),
            ("README", b"GIF is a format"),
            ("empty", b""),
            ("logo.svg", b"<svg/>"),
        ],
    )
    def test_other_files_are_passed_over(self, tmp_path, name, content):
        (tmp_path / name).write_bytes(content)
        contents = search(tmp_path)
        assert (contents.images, contents.videos, contents.left_out) == ([], [], [])

    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("a.ts", (b"G" + b"\0" * 187) * 3),
            ("a.m2ts", (b"\0\0\0\0G" + b"\0" * 187) * 3),
            ("a.3gp", b"\0\0\0\x18ftyp3gp4"),
            ("a", b"\x1aE\xdf\xa3"),
            ("a.divx", b"RIFF\0\0\0\0AVI LIST"),
        ],
    )
    def test_videos_by_any_name(self, tmp_path, name, content):
        (tmp_path / name).write_bytes(content)
        assert find_videos(tmp_path) == [tmp_path / name]
        assert videos_among([str(tmp_path)]) == videos_among([str(tmp_path / name)]) == [str(tmp_path / name)]

    def test_source_code_is_no_video(self, tmp_path):
        (tmp_path / "a.ts").write_text("Get();" * 100)
        assert not search(tmp_path).videos


class TestWalking:
    def test_hidden_folders_and_files(self, tmp_path):
        for name in ("a.png", ".b.png", ".hidden/c.png", "sub/.ipynb_checkpoints/a-checkpoint.png", "sub/d.png"):
            save(tmp_path / name)
        (tmp_path / ".git").symlink_to(tmp_path.parent)  # a link that would be refused
        assert below(tmp_path, images_below(tmp_path)) == ["a.png", "sub/d.png"]
        assert below(tmp_path, find_images([str(tmp_path)])) == ["a.png", "sub/d.png"]
        assert [path.name for path in subfolders(tmp_path)] == ["sub"]
        assert len(find_images([str(tmp_path / ".hidden")])) == 1  # asked for by name

    def test_links_that_lead_nowhere_or_to_themselves(self, tmp_path):
        save(tmp_path / "sub/a.png")
        (tmp_path / "sub/self").symlink_to("self")
        (tmp_path / "sub/self.png").symlink_to("self.png")
        (tmp_path / "sub/gone.jfif").symlink_to("nowhere")
        (tmp_path / "sub/back").symlink_to("..")
        (tmp_path / "loop").symlink_to(".")
        left_out = []
        assert below(tmp_path, find_images([str(tmp_path)], left_out)) == ["sub/a.png"]
        assert {one.sentence.removeprefix(f"{tmp_path}/") for one in left_out} == {
            "sub/self.png: cannot be read: Too many levels of symbolic links",
            "sub/gone.jfif: cannot be read: No such file or directory",
        }
        assert [path.name for path in subfolders(tmp_path)] == ["sub"]
        assert find_images([f"{tmp_path}/**/*.png"]) == [str(tmp_path / "sub/a.png"), str(tmp_path / "sub/self.png")]

    def test_a_link_out_of_the_folder_is_refused(self, tmp_path):
        save(tmp_path / "in/a.png")
        (tmp_path / "in/up").symlink_to("..")
        with pytest.raises(UsageError, match="up: is a link to a folder"):
            find_images([str(tmp_path / "in")])

    def test_pipes_and_sockets_make_nobody_wait(self, tmp_path):
        save(tmp_path / "a.png")
        for name in ("pipe.png", "pipe", "pipe.mp4"):
            os.mkfifo(tmp_path / name)
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(tmp_path / "s.jpg"))
            left_out = []
            assert below(tmp_path, find_images([str(tmp_path)], left_out)) == ["a.png"]
        assert below(tmp_path, [one.path for one in left_out]) == ["pipe.png", "s.jpg"]
        with pytest.raises(UsageError, match=r"no video.*Left out: .*pipe\.mp4: is not a regular file"):
            find_videos(tmp_path)

    def test_folders_that_cannot_be_looked_into_are_named(self, tmp_path, monkeypatch):
        """Tests may run as root, who may look into everything."""
        save(tmp_path / "a.png")
        save(tmp_path / "shut/b.png")
        scandir = os.scandir

        def refuse(folder):
            if os.path.basename(folder) == "shut":
                raise PermissionError(13, "Permission denied", folder)
            return scandir(folder)

        monkeypatch.setattr(os, "scandir", refuse)
        left_out = []
        assert below(tmp_path, find_images([str(tmp_path)], left_out)) == ["a.png"]
        assert [one.sentence for one in left_out] == [f"{tmp_path}/shut: cannot be looked into: Permission denied"]
        with pytest.raises(UsageError, match=r"no images found there\. Left out: .*Permission denied"):
            find_images([str(tmp_path / "shut")])

    def test_names_that_are_not_utf_8(self, tmp_path):
        os.mkdir(os.fsencode(tmp_path) + b"/caf\xe9")
        save(tmp_path / "a.jpeg", "JPEG").rename(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9/\xff"))
        assert [os.fsencode(os.path.basename(path)) for path in find_images([str(tmp_path)])] == [b"\xff"]
        with pytest.raises(UsageError, match="not UTF-8"):
            list(images_below(tmp_path))


class TestWalkers:
    """What each verb makes of a folder with something hidden, something odd, and something that cannot be read."""

    @pytest.fixture
    def photos(self, tmp_path):
        folder = tmp_path / "photos"
        for name in ("a.png", "b.jfif", ".ipynb_checkpoints/a-checkpoint.png"):
            save(folder / name, "JPEG" if "jfif" in name else "PNG")
        (folder / "c.heic").write_bytes(HEIC)
        (folder / "self").symlink_to("self")
        return folder

    def test_forge(self, photos, tmp_path):
        made = forge_folder(
            photos, tmp_path / "out", ["inpaint-telea"], 0, progress=False, options=ForgeOptions(splits=(1, 0, 0))
        )
        assert len(made.manifest) == 4
        assert [problem.split(": ")[0] for problem in made.problems] == [str(photos / "c.heic")]

    def test_frames(self, photos, tmp_path):
        (photos / "d.mp4").symlink_to("nowhere")
        (photos / "e.mp4").write_bytes(b"x")
        (photos / ".x").mkdir()
        (photos / ".x/f.mp4").write_bytes(b"x")
        (photos / ".x/facts.json").write_text("{}")
        done = extract(photos, tmp_path / "out", Selection(count=1), Cropping(whole=True), progress=False)
        assert [os.path.basename(problem.split(": ")[0]) for problem in done.problems] == ["d.mp4", "e.mp4"]
        assert not (tmp_path / "out/.x").exists()

    def test_masks_diff(self, photos, tmp_path):
        fake = PICTURE.copy()
        fake[2:10, 2:12] ^= 128
        lines = ["path,label,mask,group,method,split"]
        for name in ("a", "b"):
            write_png(tmp_path / f"fakes/{name}.png", fake)
            lines.append(f"fakes/{name}.png,fake,,{name},x,train")
        (tmp_path / "m.csv").write_text("\n".join(lines))
        parameters = Differencing(blur=0, smallest_area=4)
        derived = derive_masks(tmp_path / "m.csv", photos, tmp_path / "masks", parameters)
        assert derived.masks == 2 and [one.split(": ")[0] for one in derived.left_out] == [str(photos / "c.heic")]

    def test_masks_to_explain_by(self, photos):
        known = truth_from_folder(photos, ["x/a.jpg", "x/b.jpg", "x/a-checkpoint.jpg"])
        assert [known(f"x/{name}.jpg").mask for name in ("a", "b", "a-checkpoint")] == [
            str(photos / "a.png"),
            str(photos / "b.jfif"),
            "",
        ]
        (photos / "d.png").symlink_to("nowhere")
        with pytest.raises(ImageError, match=r"d\.png"):
            truth_from_folder(photos, ["x/a.jpg"])

    def test_a_manifest_beside_a_link_that_leads_to_itself(self, photos, tmp_path):
        manifest = tmp_path / "m.csv"
        manifest.write_text("path,label,mask,group,method,split\nphotos/a.png,real,,a,,train\n")
        assert len(Manifest.read(manifest)) == 1
        (photos / "a.png").unlink()
        (photos / "a.png").symlink_to("a.png")
        with pytest.raises(ManifestError, match=r"a\.png is not a file"):
            Manifest.read(manifest)

    def test_pools(self, tmp_path):
        import pyarrow as pa
        import pyarrow.parquet as pq

        for name in ("a.parquet", "B.PARQUET", ".hidden.parquet"):
            pq.write_table(pa.table({"path": [name]}), tmp_path / name)
        (tmp_path / ".parts").mkdir()
        (tmp_path / ".x.tfrecord").write_bytes(b"")
        assert [os.path.basename(file) for file in Pool.open(tmp_path).files] == ["B.PARQUET", "a.parquet"]
