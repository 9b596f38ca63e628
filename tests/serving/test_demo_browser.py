"""The demo page in a real Chromium, with the shared run's export behind it."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from lae_tf.metrics.verdict import ConformalBounds, verdict_of
from lae_tf.predict.images import predict_files
from lae_tf.report.panels import STRONGEST_OVERLAY

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def golden(exported):
    folder = Path(exported["path"]) / "assets.extra" / "golden"
    return folder, {image["file"]: image for image in json.loads((folder / "golden.json").read_text())["images"]}


@pytest.fixture(scope="module")
def bounds(golden):
    facts = json.loads((golden[0] / "golden.json").read_text())
    return ConformalBounds(*(facts[field] for field in ConformalBounds._fields))


class Page:
    def __init__(self, driver, url):
        self.driver = driver
        driver.get(f"{url}/demo")

    def find(self, name):
        return self.driver.find_element(By.ID, name)

    @property
    def cards(self):
        return [Card(element) for element in self.driver.find_elements(By.TAG_NAME, "article")]

    def choose(self, *paths):
        """Choose files, and return their cards once each has its verdict or error."""
        before = len(self.cards)
        self.find("file").send_keys("\n".join(map(str, paths)))
        # The browser tells the page after it has told the test.
        WebDriverWait(self.driver, 60).until(
            lambda _: len(self.cards) == before + len(paths) and all(card.is_settled for card in self.cards)
        )
        return self.cards[before:]

    def choose_one(self, path):
        (card,) = self.choose(path)
        return card

    def slide(self, name, value):
        self.driver.execute_script(
            "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input'))", self.find(name), value
        )

    def log(self):
        return [entry["message"] for entry in self.driver.get_log("browser")]


class Card:
    """What the page shows of one file."""

    def __init__(self, element):
        self.element = element

    def find(self, name):
        return self.element.find_element(By.CLASS_NAME, name)

    def text(self, name):
        return self.find(name).text

    @property
    def state(self):
        return self.element.get_attribute("data-state")

    @property
    def is_settled(self):
        return self.state in ("done", "failed")


@pytest.fixture
def page(driver, export_server):
    driver.get_log("browser")
    return Page(driver, export_server.facts["demo"].removesuffix("/demo"))


def test_images_are_scored_each_on_its_card(page, golden):
    folder, records = golden
    assert not page.cards and not page.find("settings").is_displayed() and not page.find("sliders").is_displayed()
    names = ("png-rgb.png", "jpeg-orientation-6.jpg", "bmp-rgb.bmp")
    for name, card in zip(names, page.choose(*(folder / name for name in names)), strict=True):
        record = records[name]
        assert (card.state, card.text("name")) == ("done", name)
        assert float(card.text("score")) == pytest.approx(record["score"], abs=6e-4)
        assert card.text("label").lower() == record["verdict"]
        assert card.text("reason").startswith(f"The score {card.text('score')} ")
    assert page.log() == [], "the page asked for something it may not have"


def test_the_attention_lies_on_its_place_in_the_image(page, golden, trained_run):
    folder, _ = golden
    card = page.choose_one(folder / "bmp-rgb.bmp")
    image, heat = card.find("image").rect, card.find("heat").rect
    assert image["width"] / image["height"] == pytest.approx(180 / 240, abs=0.01)
    assert heat == pytest.approx(image, abs=1)
    assert card.text("size") == "180 × 240 pixels"
    # It is the attention of the model itself, in the opacity of the canvas.
    (one,) = predict_files(trained_run.load_model(), [str(folder / "bmp-rgb.bmp")])
    drawn = page.driver.execute_script(
        "const c = arguments[0]; const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
        "return Array.from(d.filter((_, i) => i % 4 === 3))", card.find("heat"),
    )  # fmt: skip
    drawn = np.reshape(drawn, (240, 180)) / (255 * STRONGEST_OVERLAY)
    expected = cv2.resize(one.attention, drawn.shape[::-1])
    assert np.abs(drawn - expected).mean() < 0.03 and expected.std() > 0.03
    card.find("own-size").click()
    assert (card.find("image").rect["width"], card.find("image").rect["height"]) == (180, 240)


def test_the_meter_stands_where_the_score_is(page, golden):
    folder, records = golden
    card = page.choose_one(folder / "png-rgb.png")
    meter, needle, tick = (card.find(name).rect for name in ("meter", "needle", "tick"))
    threshold = float(page.find("threshold-value").text)
    for part, value in ((needle, records["png-rgb.png"]["score"]), (tick, threshold)):
        assert (part["x"] + part["width"] / 2 - meter["x"]) / meter["width"] == pytest.approx(value, abs=0.01)
    assert float(card.find("meter").get_attribute("aria-valuenow")) == pytest.approx(
        float(card.text("score")), abs=6e-4
    )


def test_another_threshold_labels_anew_without_asking(page, golden, bounds):
    folder, records = golden
    names = ["png-rgb.png", "bmp-rgb.bmp"]
    cards = page.choose(*(folder / name for name in names))
    page.driver.execute_script("window.fetch = () => { throw new Error('asked again'); }")
    for threshold in (0.02, 0.98):
        page.slide("threshold", threshold)
        for name, card in zip(names, cards, strict=True):
            assert card.text("label").lower() == verdict_of(records[name]["score"], threshold, bounds)
            assert f"your threshold {threshold:.3f}" in card.text("reason")
    page.find("reset").click()
    assert [card.text("label").lower() for card in cards] == [records[name]["verdict"] for name in names]
    assert not page.find("reset").is_enabled()


def test_the_overlay_can_be_faded(page, golden):
    folder, _ = golden
    card = page.choose_one(folder / "png-rgb.png")
    page.slide("opacity", 0)
    assert card.find("heat").value_of_css_property("opacity") == "0"
    assert card.find("image").value_of_css_property("filter") == "grayscale(0)"
    page.slide("opacity", 1)
    assert card.find("heat").value_of_css_property("opacity") == "1"


def test_a_format_that_the_graph_does_not_decode_is_converted(page, golden, tmp_path):
    folder, records = golden
    with Image.open(folder / "png-rgb.png") as image:
        image.save(tmp_path / "photo.webp", lossless=True)
    card = page.choose_one(tmp_path / "photo.webp")
    assert float(card.text("score")) == pytest.approx(records["png-rgb.png"]["score"], abs=6e-4)


def test_errors_stand_at_their_files(page, golden, tmp_path):
    folder, _ = golden
    (tmp_path / "notes.txt").write_text("no image")
    data = (folder / "jpeg-quality-95.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(data[: len(data) // 2])
    notes, cut, sound = page.choose(tmp_path / "notes.txt", tmp_path / "cut.jpg", folder / "jpeg-quality-95.jpg")
    assert (notes.state, cut.state, sound.state) == ("failed", "failed", "done")
    assert notes.text("error") == "notes.txt is not an image that this browser can read."
    assert "position 0 of the batch: damaged" in cut.text("error")
    assert "2 without a verdict" in page.find("summary").text
    page.find("clear").click()
    assert not page.cards


def test_images_can_be_dropped_anywhere(page):
    page.driver.execute_script(
        """
        const canvas = document.createElement("canvas");
        canvas.width = canvas.height = 40;
        canvas.toBlob((blob) => {
          const data = new DataTransfer();
          for (const name of ["one.png", "two.png"]) data.items.add(new File([blob], name, { type: "image/png" }));
          document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
        });
        """
    )
    WebDriverWait(page.driver, 30).until(lambda _: [card.state for card in page.cards] == ["done", "done"])
    assert [card.text("name") for card in page.cards] == ["one.png", "two.png"]


def test_the_keyboard_reaches_the_choice_first_and_it_shows(page):
    page.driver.find_element(By.TAG_NAME, "body").send_keys(Keys.TAB)
    focused = page.driver.switch_to.active_element
    assert focused.get_attribute("id") == "file"
    style = "return getComputedStyle(document.getElementById('drop')).outlineStyle"
    assert page.driver.execute_script(style) == "solid"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_it_fits_and_can_be_read_in_both_schemes(page, golden, scheme, width):
    folder, _ = golden
    page.driver.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    page.driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    )
    try:
        card = page.choose_one(folder / "png-rgb.png")
        assert page.driver.execute_script("return document.documentElement.scrollWidth <= innerWidth")
        texts = [page.find(name) for name in ("hint", "threshold-value", "summary")]
        for element in (*texts, *(card.find(name) for name in ("name", "score", "reason", "size", "regions"))):
            assert contrast(page, element) >= 4.5, element.get_attribute("class")
        for verdict in ("real", "fake", "unsure"):
            page.driver.execute_script("arguments[0].dataset.verdict = arguments[1]", card.element, verdict)
            assert contrast(page, card.find("label")) >= 4.5, verdict
    finally:
        page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def contrast(page, element):
    """Contrast of an element's text by WCAG 2.2, against the nearest background that is not transparent."""
    colours = page.driver.execute_script(
        """
        let element = arguments[0];
        const text = getComputedStyle(element).color;
        while (getComputedStyle(element).backgroundColor === "rgba(0, 0, 0, 0)") element = element.parentElement;
        return [text, getComputedStyle(element).backgroundColor].map((colour) => colour.match(/[0-9.]+/g).map(Number));
        """,
        element,
    )
    lights = []
    for colour in colours:
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (v / 255 for v in colour[:3])]
        lights.append(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] + 0.05)
    return max(lights) / min(lights)


def test_a_token_is_asked_for_and_sent(driver, start_server):
    from lae_tf.serving.rest.demo import DemoPage

    server = start_server(token="secret", demo=DemoPage(["half", "<b>"], True))
    assert server.ask("GET", "/v1/models/half").status == 401
    answer = server.ask("GET", "/demo")
    assert (answer.status, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    page = Page(driver, server.url)
    assert [option.text for option in page.find("model").find_elements(By.TAG_NAME, "option")] == ["half", "<b>"]
    page.driver.execute_script("take([new File([new Uint8Array([0xff, 0xd8, 0xff])], 'a.jpg')])")
    (card,) = page.cards
    wait = WebDriverWait(driver, 10)
    wait.until(lambda _: card.is_settled)
    assert card.text("error") == "This server asks for an access token; enter it above, then try again."
    page.find("token").send_keys("secret")
    card.find("again").click()
    wait.until(lambda _: 'signature name: "explain" not found' in card.text("error"))


def test_without_the_option_there_is_no_page(server):
    assert server.ask("GET", "/demo").status == 404
