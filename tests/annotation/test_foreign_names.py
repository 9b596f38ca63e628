"""Names as other systems write them: the right image is found, and of two that fit none is guessed."""

import base64
import unicodedata
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lae_tf.annotation.items import ImageNames, Item

SELECTED = ("/data/set/a/0001.png", "/data/set/b/0002.jpg", "/data/set/b/Capture décran+a&b.png", "/data/set/v1.2.png")
ITEMS = [Item(rank, Path(path)) for rank, path in enumerate(SELECTED, start=1)]
EXPORTED = ITEMS[0].name


def rank_of(found):
    return found.rank if isinstance(found, Item) else 0


# No separators, and nothing that no file system takes.
file_names = st.text(st.characters(exclude_characters="/\\\0", exclude_categories=["Cs"]), min_size=1, max_size=20)


@given(file_names, st.sampled_from(["/", "\\"]), st.booleans())
def test_any_name_is_found_escaped_or_not(name, separator, local):
    names = ImageNames([Item(1, Path(f"/data/extra/{name}.png")), Item(2, Path("/data/extra/sub/other.png"))])
    path = f"extra{separator}{name}.png"
    start = "/data/local-files/?d=" if local else "s3://bucket/"
    for written in (path, quote(path, safe="/"), quote_plus(path)):
        assert rank_of(names.find_url(start + written)) == 1, written
    for written in (path, quote(path, safe="/")):
        assert rank_of(names.find(written)) == 1, written
    assert not names.strangers


@pytest.mark.parametrize(
    ("url", "rank"),
    [
        (f"/data/local-files/?d=images%5C{EXPORTED}.png", 1),
        (f"/data/local-files/?d=images\\{EXPORTED}.png", 1),
        (f"/data/local-files/?d=\\images\\{EXPORTED}.png", 1),
        (f"/data/local-files/?d\\images/{EXPORTED}.png", 1),
        (f"C:\\Users\\Ann B\\images\\{EXPORTED}.png", 1),
        (f"/data/upload/3/0f3e9a1b-{EXPORTED}.png", 1),
        ("C:\\work\\b\\0002.jpg", 2),
        ("file:///D:/work/b/0002.jpg", 2),
        ("\\\\server\\share\\b\\0002.jpg", 2),
        ("s3://bucket/b/0002.jpg", 2),
        ("gs://bucket/set/b/0002.jpg", 2),
        ("azure-blob://container/prefix/b/0002.jpg", 2),
        ("https://host:8080/x/b/0002.jpg?X-Amz-Date=1/2&X-Amz-Signature=ab%2Fc.d#top", 2),
        ("http://localhost:8080/data/local-files/?d=set/b/0002.jpg", 2),
        ("/data/local-files/?d=b/0002.jpg&token=1", 2),
        ("..\\..\\label-studio\\media\\upload\\4\\cb0618f6-0002.jpg", 2),
        ("/data/upload/7/3f2a8b1c-Capture_décranab.png", 3),  # what Label Studio makes of the name
        (unicodedata.normalize("NFD", "/data/local-files/?d=b/Capture décran+a&b.png"), 3),
        ("/data/local-files/?d=v1.2.png", 4),
        ("/data/local-files/?d=b/0001.png", 0),
        ("/data/local-files/?d=0001/a.png", 0),
        ("/data/local-files/?d=b/Capture décran+a.png", 0),
        ("/data/local-files/?d=", 0),
        ("C:\\", 0),
    ],
)
def test_urls_of_label_studio(url, rank):
    assert rank_of(ImageNames(ITEMS).find_url(url)) == rank


@pytest.mark.parametrize(
    ("name", "rank"),
    [
        ("b\\0002.jpg", 2),
        ("images/train/../../set/b/0002.jpg", 2),
        ("set/a/../b/0002.jpg", 2),
        ("./b/0002.jpg", 2),
        ("/home/ann/set/b/0002.jpg", 2),
        ("0002_jpg.rf.0a1b2c3d4e5f.jpg", 2),
        ("b%5C0002.jpg", 2),
        ("c/0002.jpg", 0),
    ],
)
def test_paths(name, rank):
    assert rank_of(ImageNames(ITEMS).find(name)) == rank


def test_what_lies_behind_a_sign_is_cut_off_only_with_an_image_before_it():
    names = ImageNames([Item(1, Path("/data/a.png"))])
    assert rank_of(names.find_url("/data/local-files/?d=a.png&size=2")) == 1
    assert rank_of(names.find_url("/data/local-files/?d=a&b.png")) == 0


class TestSameNameInTwoFolders:
    items = (Item(1, Path("/data/x/0.png")), Item(2, Path("/data/y/0.png")))

    @pytest.mark.parametrize("name", ["0.png", "C:\\work\\0.png", "C:\\z\\0.png", "/data/upload/1/0123abcd-0.png"])
    def test_a_name_that_fits_both_is_refused(self, name):
        names = ImageNames(self.items)
        for found in (names.find(name), names.find_url(name)):
            assert isinstance(found, str) and "fits 2 images, such as /data/x/0.png and /data/y/0.png" in found
        assert not names.strangers

    @pytest.mark.parametrize("name", ["y\\0.png", "C:\\work\\y\\0.png", "s3://bucket/y/0.png"])
    def test_the_folder_tells_them_apart(self, name):
        assert rank_of(ImageNames(self.items).find(name)) == 2

    def test_an_image_that_was_not_selected_is_not_taken_for_one_that_was(self):
        selected = [Item(1, Path("/data/x/0.png"))]
        assert rank_of(ImageNames(selected, ["/data/y/0.png"]).find("C:\\work\\y\\0.png")) == 0
        assert "fits 2 images" in ImageNames(selected, ["/data/y/0.png"]).find("C:\\work\\0.png")

    def test_two_suffixes(self):
        names = ImageNames([Item(1, Path("/data/a.png")), Item(2, Path("/data/a.jpg"))])
        assert "fits 2 images" in names.find("a.png")


def test_only_names_of_export_tasks_belong_to_another_run():
    for name, said in (
        ("images\\0001-fake-01234567.png", True),
        ("/data/upload/1/89abcdef-0001-fake-01234567.png", True),
        ("fake.png", False),
        (base64.b64encode(b"x").decode(), False),
    ):
        names = ImageNames(ITEMS)
        names.find_url(name)
        assert names.are_of_another_run() is said
