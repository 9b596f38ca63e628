"""The page in a real Chromium with a photograph of 12 megapixels, and how long it was open."""

import json
import time

import numpy as np
import pytest
from PIL import Image
from test_annotation_browser import Page

pytestmark = pytest.mark.browser

HEIGHT, WIDTH = 3000, 4000


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    path = tmp_path_factory.mktemp("photo") / "photo.png"
    Image.fromarray(np.full((HEIGHT, WIDTH, 3), 255, np.uint8)).save(path, compress_level=1)
    return path


@pytest.fixture
def page(driver, tmp_path, photo):
    opened = Page(driver, tmp_path)
    opened.items[0].image.unlink()
    opened.items[0].image.symlink_to(photo)
    heat = np.zeros((96, 128), np.uint8)  # the photograph's aspect
    heat[24:72, 32:64] = 255
    Image.fromarray(heat).save(tmp_path / "large.png")
    object.__setattr__(opened.items[0], "attention", tmp_path / "large.png")
    opened.open()
    yield opened
    opened.close()


def test_a_stroke_is_saved_at_the_size_of_the_photograph(page):
    """The brush of 400 px, pressed once in the middle: the disc of the pixels within 200 of that point."""
    size = page.driver.execute_script("const s = document.getElementById('size'); return [s.value, s.max]")
    assert size == ["250", "1000"], "a sixteenth and a quarter of the longer side"
    page.set_size(400)
    view = page.driver.find_element("id", "view").size
    scale = min((view["width"] - 64) / WIDTH, (view["height"] - 64) / HEIGHT)
    page.transform = (scale, (view["width"] - WIDTH * scale) / 2, (view["height"] - HEIGHT * scale) / 2)
    page.drag((2000, 1500))
    page.wait_saved()
    drawn = page.on_disk()
    assert drawn.shape == (HEIGHT, WIDTH)
    rows, columns = np.nonzero(drawn)
    assert len(rows) == pytest.approx(np.pi * 200**2, rel=0.002)
    # The pointer stands on whole CSS pixels, each several of the image.
    assert [rows.mean(), columns.mean()] == pytest.approx([1500, 2000], abs=1 / scale)


def test_attention_of_few_values_starts_a_mask_of_the_photograph(page):
    page.press("u")
    page.wait(lambda: page.on_disk() is not None, 30)
    page.wait_saved()
    drawn = page.on_disk()
    assert drawn.shape == (HEIGHT, WIDTH)
    expected = page.items[0].starting_mask(HEIGHT, WIDTH)
    assert (drawn != 255 * expected).mean() < 0.001
    assert expected.mean() == pytest.approx(48 * 32 / (96 * 128), abs=0.001)


def test_undo_remembers_no_more_than_its_limit(page):
    """Thirty actions over all of 12 megapixels; 256 MB are 21 of them."""
    page.driver.set_script_timeout(60)
    remembered, taken_back = page.driver.execute_async_script(
        """
        const done = arguments[0];
        import("/static/mask.js").then(({ Mask }) => {
          const mask = new Mask(4000, 3000);
          for (let i = 0; i < 30; i++) {
            mask.begin();
            mask.pixels[i] = 1;
            mask.addAbove([], 0);
            mask.commit();
          }
          const remembered = mask.actions.length;
          while (mask.undo());
          done([remembered, Array.from(mask.pixels.subarray(0, 30))]);
        });
        """
    )
    assert remembered == 21 and taken_back == [1] * 9 + [0] * 21


def test_time_counts_while_the_image_is_open_and_the_tab_visible(driver, tmp_path):
    page = Page(driver, tmp_path)

    def show(visible):
        driver.execute_script(
            "Object.defineProperty(document, 'hidden', { value: !arguments[0], configurable: true });"
            "document.dispatchEvent(new Event('visibilitychange'))",
            visible,
        )

    def seconds(rank):
        path = page.folder / "seconds.json"
        return json.loads(path.read_text()).get(page.items[rank - 1].name, 0) if path.exists() else 0

    try:
        opened = time.monotonic()
        page.press("n")
        page.wait_for("image2.png")
        time.sleep(1)
        show(False)
        page.wait(lambda: seconds(2) >= 1)
        first = seconds(2)
        assert first <= time.monotonic() - opened + 0.1  # seconds are stored in tenths
        time.sleep(2)
        shown = time.monotonic()
        show(True)
        page.press("s")
        page.wait_for("image3.png")
        page.wait(lambda: seconds(2) > first or time.monotonic() > shown + 3)
        assert seconds(2) - first <= time.monotonic() - shown + 0.1, "the two seconds in between do not count"
        assert seconds(1) > 0 and seconds(3) == 0
    finally:
        page.close()
