"""The page in a real Chromium: what is drawn with a pointer is what is on disk."""

import io
import json
import socket
import threading
import urllib.request
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import uvicorn
from PIL import Image
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.actions import interaction
from selenium.webdriver.common.actions.action_builder import ActionBuilder
from selenium.webdriver.common.actions.pointer_input import PointerInput
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait
from skimage.filters import threshold_otsu

from lae_tf.annotation.app import create_app
from lae_tf.annotation.items import Item
from lae_tf.annotation.surroundings import Cut
from lae_tf.masks.polygons import fill_polygon

pytestmark = pytest.mark.browser

HEIGHT, WIDTH = 31, 41


class Page:
    """The page with three white images, the second with attention; and what lies on disk."""

    def __init__(self, driver, root: Path, cut: Cut | None = None):
        self.driver = driver
        self.folder = root / "annotations"
        white = Image.fromarray(np.full((HEIGHT, WIDTH, 3), 255, np.uint8))
        self.heat = np.zeros((HEIGHT, WIDTH), np.uint8)
        self.heat[5:20, 6:25] = 90
        self.heat[10:16, 10:18] = 180
        Image.fromarray(self.heat).save(root / "heat.png")
        self.items = []
        for rank in (1, 2, 3):
            white.save(root / f"image{rank}.png")
            heat = root / "heat.png" if rank == 2 else None
            place = cut if rank == 1 else None
            self.items.append(Item(rank, root / f"image{rank}.png", f"reason {rank}", attention=heat, cut=place))
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}/"
        config = uvicorn.Config(create_app(self.items, self.folder), log_level="critical", lifespan="off")
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.listener]}, daemon=True)
        self.thread.start()
        self.open()

    def close(self):
        self.driver.get("about:blank")
        self.server.should_exit = True
        self.thread.join(10)
        self.listener.close()

    def open(self):
        self.driver.get(self.url)
        self.wait(lambda: "drawn" in self.text("progress-text") and self.is_at_rest())

    def wait(self, condition, seconds: float = 15):
        WebDriverWait(self.driver, seconds, poll_frequency=0.05).until(lambda _: condition())

    def wait_saved(self):
        self.wait(lambda: self.driver.find_element(By.ID, "saved").get_attribute("data-state") == "saved")

    def wait_for(self, name: str):
        """Wait until an image is open."""
        self.wait(lambda: self.text("name").endswith(f"/{name}") and self.is_at_rest())

    def text(self, element: str) -> str:
        return self.driver.find_element(By.ID, element).text

    def is_at_rest(self) -> bool:
        return self.driver.find_element(By.ID, "stage").get_attribute("aria-busy") == "false"

    def press(self, *keys: str):
        ActionChains(self.driver, duration=0).send_keys(*keys).perform()

    def set_size(self, size: int):
        self.driver.execute_script(
            "const s = document.getElementById('size'); s.value = arguments[0]; s.dispatchEvent(new Event('input'))",
            size,
        )

    def frame(self) -> tuple[float, float, float]:
        """Return scale, left and top of the image on the stage, measured on a screenshot: it is white."""
        # Away with the pointer, whose ring would be seen.
        view = self.driver.find_element(By.ID, "view")
        ActionChains(self.driver, duration=0).move_to_element_with_offset(
            view, -view.size["width"] // 2 + 3, 0
        ).perform()
        shot = np.array(Image.open(io.BytesIO(view.screenshot_as_png)).convert("RGB"))
        seen = (shot > 250).all(axis=2)
        rows, columns = np.flatnonzero(seen.mean(axis=1) > 0.2), np.flatnonzero(seen.mean(axis=0) > 0.2)
        return (columns[-1] + 1 - columns[0]) / WIDTH, float(columns[0]), float(rows[0])

    def drag(self, *points: tuple[float, float], kind: str = interaction.POINTER_MOUSE):
        """Press at the first point, move through the others and release; image pixels to CSS pixels by `frame`."""
        builder = ActionBuilder(self.driver, mouse=PointerInput(kind, kind), duration=20)
        pointer = builder.pointer_action
        pointer.move_to_location(*self.on_screen(points[0]))
        pointer.pointer_down()
        for point in points[1:]:
            pointer.move_to_location(*self.on_screen(point))
        pointer.pointer_up()
        builder.perform()

    def on_screen(self, point: tuple[float, float]) -> tuple[int, int]:
        scale, left, top = self.transform
        box = self.driver.find_element(By.ID, "view").rect
        return round(box["x"] + left + point[0] * scale), round(box["y"] + top + point[1] * scale)

    def measure(self):
        self.transform = self.frame()

    def drawn(self) -> np.ndarray:
        """Read the mask back from the page, uint8 {0, 1}."""
        width, height, flat = self.driver.execute_script(
            "const c = document.getElementById('mask');"
            "const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
            "return [c.width, c.height, Array.from(d.filter((_, i) => i % 4 === 3), (a) => a > 0 ? 1 : 0)]"
        )
        return np.array(flat, np.uint8).reshape(height, width)

    def on_disk(self, rank: int = 1) -> np.ndarray | None:
        try:
            return np.array(Image.open(self.folder / f"{self.items[rank - 1].name}.png"))
        except FileNotFoundError:
            return None

    def verdicts(self) -> dict[int, str]:
        path = self.folder / "verdicts.json"
        ranks = {item.name: item.rank for item in self.items}
        return {ranks[name]: verdict for name, verdict in json.loads(path.read_text()).items()} if path.exists() else {}

    def check_saved(self, rank: int = 1) -> np.ndarray:
        """Wait for the save; the file must hold exactly what the page shows."""
        self.wait_saved()
        drawn = self.drawn()
        np.testing.assert_array_equal(self.on_disk(rank), 255 * drawn)
        return drawn


@pytest.fixture
def page(driver, tmp_path):
    opened = Page(driver, tmp_path)
    opened.measure()
    yield opened
    errors = [entry for entry in driver.get_log("browser") if entry["source"] == "javascript"]
    opened.close()
    assert not errors


def near_segments(points, radius: float) -> np.ndarray:
    """Which pixel centres are within a radius of a line through points, sampled finely."""
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    result = np.zeros((HEIGHT, WIDTH), bool)
    for (x0, y0), (x1, y1) in pairwise(points):
        for t in np.linspace(0, 1, 300):
            result |= np.hypot(x - x0 - t * (x1 - x0), y - y0 - t * (y1 - y0)) <= radius
    return result.astype(np.uint8)


def test_stroke_is_on_disk_and_comes_back(page):
    page.set_size(5)
    stroke = [(8, 7), (30, 9), (25, 22)]
    page.drag(*stroke)
    drawn = page.check_saved()
    # The pointer moves in whole CSS pixels, so that a few pixels on the edge may differ from the ideal line.
    assert (drawn != near_segments(stroke, 2.5)).sum() <= 4
    page.open()
    np.testing.assert_array_equal(page.drawn(), drawn)
    assert page.verdicts() == {}


def draw_elsewhere(page):
    """Store another mask of the first image, as another tab would, and return it."""
    other = np.zeros((HEIGHT, WIDTH), np.uint8)
    other[2:6, 30:38] = 1
    png = io.BytesIO()
    Image.fromarray(255 * other).save(png, "PNG")
    headers = {"Content-Type": "image/png"}
    request = urllib.request.Request(f"{page.url}api/masks/0", png.getvalue(), headers, method="PUT")
    urllib.request.urlopen(request, timeout=10).close()
    return other


def test_what_another_tab_drew_is_kept_and_shown(page):
    page.set_size(5)
    page.drag((8, 7), (30, 9))
    page.check_saved()
    other = draw_elsewhere(page)
    page.drag((10, 20), (20, 20))
    WebDriverWait(page.driver, 10).until(lambda _: "changed elsewhere" in page.text("message"))
    np.testing.assert_array_equal(page.on_disk(), 255 * other)
    np.testing.assert_array_equal(page.drawn(), other)
    page.drag((10, 20), (20, 20))
    assert page.check_saved().sum() > other.sum()


def test_what_another_tab_drew_is_not_called_done_unseen(page):
    """Enter comes while the stroke is still on its way."""
    page.driver.execute_script(
        "const send = window.fetch; window.fetch = async (...request) => {"
        "  await new Promise((resolve) => setTimeout(resolve, 300)); return send(...request); };"
    )
    other = draw_elsewhere(page)
    page.drag((10, 20), (20, 20))
    page.press(Keys.ENTER)
    WebDriverWait(page.driver, 10).until(lambda _: "changed elsewhere" in page.text("message"))
    WebDriverWait(page.driver, 10).until(lambda _: np.array_equal(page.drawn(), other))
    assert page.text("progress-text").startswith("0 of") and page.text("badge") == ""
    np.testing.assert_array_equal(page.on_disk(), 255 * other)


def test_single_pixel_and_image_corners(page):
    page.set_size(1)
    for point in [(20.5, 15.5), (0.5, 0.5), (WIDTH - 0.5, HEIGHT - 0.5)]:
        page.drag(point)
    assert np.argwhere(page.check_saved()).tolist() == [[0, 0], [15, 20], [HEIGHT - 1, WIDTH - 1]]


def test_strokes_beyond_the_border_are_cut(page):
    page.set_size(3)
    page.drag((20, 15), (20, -1.2), (22, -1.2))
    drawn = page.check_saved()
    assert drawn[0, 20] == 1
    assert drawn[:, :18].sum() == 0


def test_eraser(page):
    page.set_size(9)
    page.drag((10, 15), (30, 15))
    before = page.check_saved()
    page.press("e")
    page.set_size(3)
    page.drag((20.5, 5.5), (20.5, 25.5))
    after = page.check_saved()
    assert (after <= before).all()
    assert after[:, 19:22].sum() == 0
    assert (after[:, :18] == before[:, :18]).all()


def test_undo_and_redo_are_saved_too(page):
    page.set_size(4)
    page.drag((10, 10), (15, 10))
    first = page.check_saved()
    page.drag((10, 20), (15, 20))
    second = page.check_saved()
    assert (first != second).any()
    page.press(Keys.CONTROL, "z", Keys.NULL)
    np.testing.assert_array_equal(page.check_saved(), first)
    page.press("z")
    page.wait(lambda: page.on_disk() is None)
    assert not page.drawn().any()
    page.press("y", "y")
    page.wait(lambda: page.on_disk() is not None)
    np.testing.assert_array_equal(page.check_saved(), second)


def test_polygon_by_enter_first_point_and_double_click(page):
    page.press("p")
    triangle = [(5, 4), (25, 6), (12, 24)]
    for point in triangle:
        page.drag(point)
    assert page.on_disk() is None
    page.press(Keys.ENTER)
    drawn = page.check_saved()
    assert (drawn != fill_polygon(np.array(triangle), HEIGHT, WIDTH)).sum() <= 4
    assert page.verdicts() == {}, "Enter closes a polygon before it decides"
    square = [(30, 4), (38, 4), (38, 12), (30, 12)]
    for point in [*square, square[0]]:
        page.drag(point)
    both = page.check_saved()
    np.testing.assert_array_equal((both - drawn)[4:12, 30:38], 1)
    for point in [(28, 18), (38, 18), (38, 28)]:
        page.drag(point)
    page.drag((38, 28))
    ActionChains(page.driver).double_click().perform()
    assert page.check_saved().sum() > both.sum()


def test_polygon_points_can_be_taken_back(page):
    page.press("p")
    for point in [(5, 4), (25, 6), (35, 29)]:
        page.drag(point)
    page.press("z")
    page.drag((12, 24))
    page.press(Keys.ENTER)
    drawn = page.check_saved()
    assert (drawn != fill_polygon(np.array([(5, 4), (25, 6), (12, 24)]), HEIGHT, WIDTH)).sum() <= 4
    for point in [(30, 4), (38, 4), (38, 12)]:
        page.drag(point)
    page.press(Keys.ESCAPE)
    np.testing.assert_array_equal(page.check_saved(), drawn)


def test_keys_decide_and_the_page_resumes(page):
    assert page.text("progress-text") == "0 of 3 drawn"
    page.press(Keys.ENTER)
    page.wait(lambda: "Nothing is drawn" in page.text("message"))
    assert page.verdicts() == {}
    page.press("n")
    page.wait_for("image2.png")
    assert page.text("progress-text") == "0 of 3 drawn, 1 not a fake", "a verdict is no mask"
    page.press("s")
    page.wait_for("image3.png")
    assert page.verdicts() == {1: "not_fake", 2: "skipped"}
    page.open()
    page.wait_for("image3.png")
    page.set_size(6)
    page.drag((20, 15), (25, 15))
    page.press(Keys.ENTER)
    page.wait(lambda: page.text("progress-text") == "1 of 3 drawn, 1 not a fake, 1 skipped")
    bar = page.driver.find_element(By.ID, "progress")
    assert (bar.get_property("value"), bar.get_property("max")) == (2, 3), "two are decided"
    assert page.verdicts()[3] == "done"
    assert page.on_disk(3).any()
    assert page.on_disk(1) is None, "not a fake is a verdict, never an empty mask"
    page.open()
    page.wait_for("image2.png")  # nothing is undecided: the skipped one
    page.press(Keys.ARROW_LEFT)
    page.wait_for("image1.png")
    assert page.text("badge") == "Not a fake"


def test_buttons_do_what_keys_do(page):
    for button, name in [("next", "image2.png"), ("previous", "image1.png"), ("not-fake", "image2.png")]:
        page.driver.find_element(By.ID, button).click()
        page.wait_for(name)
    page.driver.find_element(By.ID, "eraser").click()
    assert page.driver.find_element(By.ID, "eraser").get_attribute("aria-pressed") == "true"
    page.press(Keys.ENTER)  # is not another click on the eraser
    page.wait(lambda: "Nothing is drawn" in page.text("message"))


def test_each_image_has_its_own_mask(page):
    page.set_size(6)
    page.drag((10, 10), (15, 10))
    page.press(Keys.ARROW_RIGHT)
    page.wait_for("image2.png")
    assert not page.drawn().any()
    page.press("a")
    page.drag((30, 20), (35, 20))
    second = page.check_saved(2)
    page.press(Keys.ARROW_LEFT)
    page.wait_for("image1.png")
    assert (page.check_saved(1) != second).any()


def test_attention_as_start(page):
    page.press(Keys.ARROW_RIGHT)
    page.wait_for("image2.png")
    page.press("u")
    page.wait(lambda: page.on_disk(2) is not None)
    drawn = page.check_saved(2)
    np.testing.assert_array_equal(drawn, page.heat > 127)
    np.testing.assert_array_equal(drawn, page.items[1].starting_mask(HEIGHT, WIDTH))
    page.driver.execute_script(
        "const t = document.getElementById('threshold'); t.value = 0.3; t.dispatchEvent(new Event('input'))"
    )
    page.press("u")
    page.wait(lambda: (page.on_disk(2) > 0).sum() > drawn.sum())
    np.testing.assert_array_equal(page.check_saved(2), page.heat > 76)


def test_attention_below_the_preset_starts_from_its_own_level(page):
    """The most is 90 of 255, below the preset of one half: what exceeds 45 is the start, and the page says so."""
    faint = np.where(page.heat == 180, 90, page.heat // 3)  # 0, 30 and 90
    Image.fromarray(faint).save(page.folder.parent / "heat.png")
    page.press(Keys.ARROW_RIGHT)
    page.wait_for("image2.png")
    assert page.text("threshold-value") == "0.18"
    page.press("u")
    page.wait(lambda: page.on_disk(2) is not None)
    drawn = page.check_saved(2)
    np.testing.assert_array_equal(drawn, faint > 45)
    np.testing.assert_array_equal(drawn, page.items[1].starting_mask(HEIGHT, WIDTH))
    assert "at or below 0.35" in page.text("message") and "0.18" in page.text("message")
    page.driver.execute_script(
        "const t = document.getElementById('threshold'); t.value = 0.1; t.dispatchEvent(new Event('input'))"
    )
    page.press("u")
    page.wait(lambda: (page.on_disk(2) > 0).sum() > drawn.sum())
    np.testing.assert_array_equal(page.check_saved(2), faint > 25)
    assert page.text("message") == ""


def test_a_box_takes_what_stands_out_of_the_attention_in_it(page):
    page.press(Keys.ARROW_RIGHT)
    page.wait_for("image2.png")
    page.measure()
    page.press("r")
    page.drag((2, 3), (14, 9), (30, 24))
    page.wait(lambda: page.on_disk(2) is not None)
    inside = np.s_[3:24, 2:30]
    expected = np.zeros((HEIGHT, WIDTH), bool)
    expected[inside] = page.heat[inside] > threshold_otsu(page.heat[inside])
    assert expected.any()
    np.testing.assert_array_equal(page.check_saved(2), expected)
    page.press("z")
    page.wait(lambda: page.on_disk(2) is None)  # an empty mask is none
    # From right to left, where attention is the same all over: the whole box.
    page.drag((39.5, 29.5), (28.5, 22.5))
    page.wait(lambda: page.on_disk(2) is not None)
    expected[:] = False
    expected[22:30, 28:40] = True
    np.testing.assert_array_equal(page.check_saved(2), expected)


def test_a_box_without_attention_is_all_of_it(page):
    page.press("r")
    page.drag((5.5, 6.5), (12, 10), (19.5, 15.5))
    page.wait(lambda: page.on_disk() is not None)
    expected = np.zeros((HEIGHT, WIDTH), bool)
    expected[6:16, 5:20] = True
    np.testing.assert_array_equal(page.check_saved(), expected)
    page.press("b")
    assert page.driver.find_element(By.ID, "box").get_attribute("aria-pressed") == "false"


def test_a_box_does_not_go_on_on_the_next_image(page):
    page.press("r")
    builder = ActionBuilder(page.driver, mouse=PointerInput(interaction.POINTER_MOUSE, "mouse"), duration=20)
    builder.pointer_action.move_to_location(*page.on_screen((5.5, 6.5))).pointer_down()
    builder.pointer_action.move_to_location(*page.on_screen((19.5, 15.5)))
    builder.perform()
    page.press(Keys.ARROW_RIGHT)
    page.wait_for("image2.png")
    builder = ActionBuilder(page.driver, mouse=PointerInput(interaction.POINTER_MOUSE, "mouse"), duration=20)
    builder.pointer_action.pointer_up()
    builder.perform()
    page.press(Keys.ARROW_LEFT)
    page.wait_for("image1.png")
    assert page.on_disk(1) is None and page.on_disk(2) is None


def test_no_attention_at_all_is_said(page):
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(page.folder.parent / "heat.png")
    page.press(Keys.ARROW_RIGHT)
    page.wait_for("image2.png")
    page.press("u")
    page.wait(lambda: "attends to nothing" in page.text("message"))
    assert page.on_disk(2) is None and page.items[1].starting_mask(HEIGHT, WIDTH) is None


def test_a_tile_lies_in_its_dimmed_surroundings(driver, tmp_path):
    """Green is left of the tile, blue above it; red, two tiles to its left, is further than what is shown."""
    source = np.zeros((3 * HEIGHT, 4 * WIDTH, 3), np.uint8)
    source[HEIGHT : 2 * HEIGHT, WIDTH : 2 * WIDTH] = (0, 255, 0)
    source[:HEIGHT, 2 * WIDTH : 3 * WIDTH] = (0, 0, 255)
    source[HEIGHT : 2 * HEIGHT, :WIDTH] = (255, 0, 0)
    Image.fromarray(source).save(tmp_path / "source.png")
    page = Page(driver, tmp_path, Cut(tmp_path / "source.png", 2 * WIDTH, HEIGHT, WIDTH, HEIGHT))
    try:
        page.measure()
        scale, left, top = page.transform

        def seen(x: float, y: float) -> tuple[int, ...]:
            view = page.driver.find_element(By.ID, "view")
            shot = np.array(Image.open(io.BytesIO(view.screenshot_as_png)).convert("RGB"))
            return tuple(int(value) for value in shot[round(top + y * scale), round(left + x * scale)])

        assert seen(WIDTH / 2, HEIGHT / 2) == (255, 255, 255)
        red, green, blue = seen(-3, HEIGHT / 2)
        assert 120 < green < 200 and red < 40 and blue < 40
        red, green, blue = seen(WIDTH / 2, -2)
        assert 120 < blue < 200 and red < 40 and green < 40
        page.set_size(5)
        page.drag((8, 7), (20, 9))
        drawn = page.check_saved()
        assert drawn.shape == (HEIGHT, WIDTH) and drawn.any(), "only the tile is drawn on"
        page.press("c")
        page.wait(lambda: max(seen(-3, HEIGHT / 2)) < 40)
        page.press(Keys.ARROW_RIGHT)
        page.wait_for("image2.png")
        assert not page.driver.find_element(By.ID, "surroundings").is_enabled()
    finally:
        page.close()


def test_zoomed_and_moved_strokes_hit_the_same_pixels(page):
    page.set_size(1)
    scale, left, top = page.transform
    view = page.driver.find_element(By.ID, "view")
    x, y = 20, 15
    at_x, at_y = page.on_screen((x, y))
    page.driver.execute_script(
        "arguments[0].dispatchEvent(new WheelEvent('wheel',"
        "{deltaY: -400, clientX: arguments[1], clientY: arguments[2], bubbles: true, cancelable: true}))",
        view, at_x, at_y,
    )  # fmt: skip
    builder = ActionBuilder(page.driver, duration=20)
    builder.key_action.key_down(" ")
    builder.pointer_action.move_to_location(at_x, at_y).pointer_down().move_to_location(at_x - 40, at_y).pointer_up()
    builder.key_action.pause(0)
    builder.perform()
    ActionChains(page.driver).key_up(" ").perform()
    # What was under the pointer has moved 40 CSS pixels to the left; nothing was drawn on the way.
    assert not page.drawn().any()
    page.transform = (scale, left - 40, top)
    page.drag((x + 5 / scale, y + 5 / scale))
    assert np.argwhere(page.check_saved()).tolist() == [[y, x]]


def test_two_fingers_zoom_and_draw_nothing(page):
    page.press("-", "-", "-")  # an image that fills the stage would not be seen to grow
    page.measure()
    first = PointerInput(interaction.POINTER_TOUCH, "first")
    builder = ActionBuilder(page.driver, mouse=first, duration=30)
    second = builder.add_pointer_input(interaction.POINTER_TOUCH, "second")
    for finger, begin, end in ((first, (18, 15), (10, 15)), (second, (23, 15), (31, 15))):
        x, y = page.on_screen(begin)
        finger.create_pointer_move(30, x, y)
        finger.create_pointer_down()
        x, y = page.on_screen(end)
        finger.create_pointer_move(30, x, y)
        finger.create_pointer_up(0)
    builder.perform()
    page.wait(lambda: page.frame()[0] > 1.2 * page.transform[0])
    assert not page.drawn().any()
    assert page.on_disk() is None


def test_finger_draws(page):
    page.set_size(5)
    page.drag((8, 7), (30, 9), kind=interaction.POINTER_TOUCH)
    assert (page.check_saved() != near_segments([(8, 7), (30, 9)], 2.5)).sum() <= 4


def test_failed_save_is_said_and_tried_again(page):
    page.folder.write_text("in the way")
    page.set_size(5)
    page.drag((8, 7), (30, 9))
    page.wait(lambda: page.text("saved") == "Not saved")
    assert "Trying again" in page.text("message")
    page.folder.unlink()
    assert page.check_saved().any()
    assert page.text("message") == ""


def test_unreadable_image_can_be_skipped(page):
    page.items[1].image.write_bytes(b"no image")
    page.press(Keys.ARROW_RIGHT)
    page.wait(lambda: "cannot be shown" in page.text("message"))
    page.driver.get_log("browser")
    page.press("s")
    page.wait_for("image3.png")
    assert page.verdicts() == {2: "skipped"}


def test_help_lists_the_keys(page):
    page.press("?")
    page.wait(lambda: page.driver.find_element(By.ID, "help").is_displayed())
    listed = page.text("help-keys")
    for word in ("brush", "eraser", "polygon", "undo", "redo", "not a fake", "skip", "next", "zoom in"):
        assert word in listed
    page.press("n")  # keys rest while the help is open
    page.press(Keys.ESCAPE)
    assert page.verdicts() == {}


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (390, 844), (844, 390)])
def test_everything_fits_on_the_screen(page, width, height):
    page.driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": 2, "mobile": width < 1000},
    )
    try:
        page.open()
        assert page.driver.execute_script(
            "return document.documentElement.scrollWidth <= innerWidth && "
            "document.querySelector('aside').scrollWidth <= document.querySelector('aside').clientWidth"
        )
        for element in ("view", "brush", "done", "not-fake", "skip", "next"):
            box = page.driver.execute_script(
                "const e = document.getElementById(arguments[0]); e.scrollIntoView();"
                "const b = e.getBoundingClientRect(); return [b.left, b.top, b.right, b.bottom]", element
            )  # fmt: skip
            assert box[0] >= 0 and box[1] >= 0 and box[2] <= width and box[3] <= height, element
            assert box[2] - box[0] >= 30
        view = page.driver.find_element(By.ID, "view").size
        assert min(view["width"], view["height"]) >= 150
    finally:
        page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
