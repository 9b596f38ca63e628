"""The demo page in a real Chromium, with the shared run's export behind it."""

import json
from pathlib import Path

import pytest
from PIL import Image
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def golden(exported):
    folder = Path(exported["path"]) / "assets.extra" / "golden"
    return folder, {image["file"]: image for image in json.loads((folder / "golden.json").read_text())["images"]}


class Page:
    def __init__(self, driver, url):
        self.driver = driver
        driver.get(f"{url}/demo")

    def find(self, name):
        return self.driver.find_element(By.ID, name)

    def text(self, name):
        return self.find(name).text

    def is_shown(self, name):
        return self.find(name).is_displayed()

    def choose(self, path):
        """Choose a file, and wait for what the page makes of it."""
        self.find("file").send_keys(str(path))
        # The browser tells the page after it has told the test.
        taken = WebDriverWait(self.driver, 10)
        taken.until(lambda _: self.find("busy-name").get_attribute("textContent") == path.name)
        self.wait()

    def wait(self):
        WebDriverWait(self.driver, 30).until(
            lambda _: not self.is_shown("busy") and (self.is_shown("result") or self.is_shown("error"))
        )

    def natural_size(self, name):
        WebDriverWait(self.driver, 10).until(
            lambda driver: driver.execute_script("return arguments[0].complete", self.find(name))
        )
        return self.driver.execute_script(
            "return [arguments[0].naturalWidth, arguments[0].naturalHeight]", self.find(name)
        )

    def log(self):
        return [entry["message"] for entry in self.driver.get_log("browser")]


@pytest.fixture
def page(driver, export_server):
    driver.get_log("browser")
    return Page(driver, export_server.facts["demo"].removesuffix("/demo"))


def test_an_image_is_scored_and_explained(page, golden, trained_run):
    folder, records = golden
    assert not page.is_shown("result") and not page.is_shown("error") and not page.is_shown("settings")
    for name in ("png-rgb.png", "jpeg-orientation-6.jpg", "bmp-rgb.bmp"):
        page.choose(folder / name)
        assert not page.is_shown("error"), page.text("error")
        assert float(page.text("score")) == pytest.approx(records[name]["score"], abs=6e-4)
        assert page.text("label").lower() == records[name]["verdict"]
        assert page.is_shown("doubt") == (records[name]["verdict"] == "unsure")
    size = trained_run.load_model().image_size
    assert page.natural_size("heatmap") == [size, size]
    assert page.natural_size("image") == list(Image.open(folder / "bmp-rgb.bmp").size)
    # A square heatmap is laid out in the shape of the image, 180 by 240.
    frame = page.find("heatmap").rect
    assert frame["width"] / frame["height"] == pytest.approx(180 / 240, abs=0.01)
    assert page.log() == [], "the page asked for something it may not have"


def test_the_meter_stands_where_the_score_is(page, golden):
    folder, records = golden
    page.choose(folder / "png-rgb.png")
    meter, needle, tick = (page.find(name).rect for name in ("meter", "needle", "tick"))
    for part, value in ((needle, records["png-rgb.png"]["score"]), (tick, float(page.text("threshold")))):
        assert (part["x"] + part["width"] / 2 - meter["x"]) / meter["width"] == pytest.approx(value, abs=0.01)
    assert float(page.find("meter").get_attribute("aria-valuenow")) == float(page.text("score"))


@pytest.mark.parametrize(
    ("decision", "verdict", "zone"),
    [
        ({"verdict": "unsure", "lowest_fake": 0.3, "highest_real": 0.75, "error_rate": 0.1}, "unsure", (0.3, 0.75)),
        # As JSON of float32 numbers has it; the threshold belongs to what is unsure.
        ({"verdict": "fake", "lowest_fake": 0.3, "highest_real": 0.4, "error_rate": 0.05}, "fake", (0.3, 0.5)),
        ({"verdict": ["fake"], "lowest_fake": [0.8], "highest_real": [0.2], "error_rate": [0.1]}, "fake", None),
        ({}, "fake", None),  # of an older version
    ],
)
def test_what_the_model_is_unsure_of_is_shown(page, golden, decision, verdict, zone):
    folder, _ = golden
    page.choose(folder / "png-rgb.png")
    prediction = {"label": "fake", "threshold": 0.5, **decision}
    assert page.driver.execute_script("return showVerdict(arguments[0])", prediction) == verdict
    assert page.text("label").lower() == page.find("label").get_attribute("class") == verdict
    assert page.text("doubt") == ("This model cannot tell at 10 % errors." if verdict == "unsure" else "")
    assert contrast(page, "label") >= 4.5
    assert page.is_shown("zone") == (zone is not None)
    if zone:
        meter, drawn = page.find("meter").rect, page.find("zone").rect
        edges = [(x - meter["x"]) / meter["width"] for x in (drawn["x"], drawn["x"] + drawn["width"])]
        assert edges == pytest.approx(zone, abs=0.01)


@pytest.mark.parametrize(
    ("score", "threshold", "text"),
    [(0.49996, 0.5, "0.49996"), (0.4994, 0.5, "0.499"), (0.5, 0.5, "0.500"), (0.731, 0.7312, "0.731")],
)
def test_a_score_is_written_on_its_side_of_the_threshold(page, score, threshold, text):
    assert page.driver.execute_script("return beside(arguments[0], arguments[1])", score, threshold) == text


def test_a_format_that_the_graph_does_not_decode_is_converted(page, golden, tmp_path):
    folder, records = golden
    with Image.open(folder / "png-rgb.png") as image:
        image.save(tmp_path / "photo.webp", lossless=True)
    page.choose(tmp_path / "photo.webp")
    assert float(page.text("score")) == pytest.approx(records["png-rgb.png"]["score"], abs=6e-4)
    assert page.text("name") == "photo.webp"


def test_what_is_no_image_is_said_and_the_next_one_works(page, golden, tmp_path):
    folder, _ = golden
    (tmp_path / "notes.txt").write_text("no image")
    page.choose(tmp_path / "notes.txt")
    assert page.text("error") == "notes.txt is not an image that this browser can read."
    data = (folder / "jpeg-quality-95.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(data[: len(data) // 2])
    page.choose(tmp_path / "cut.jpg")
    assert "position 0 of the batch: damaged" in page.text("error") and not page.is_shown("result")
    page.choose(folder / "jpeg-quality-95.jpg")
    assert page.is_shown("result") and not page.is_shown("error")


def test_an_image_can_be_dropped_anywhere(page, golden):
    page.driver.execute_script(
        """
        const canvas = document.createElement("canvas");
        canvas.width = canvas.height = 40;
        canvas.toBlob((blob) => {
          const data = new DataTransfer();
          data.items.add(new File([blob], "dropped.png", { type: "image/png" }));
          document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
        });
        """
    )
    WebDriverWait(page.driver, 30).until(lambda _: page.text("name") == "dropped.png")


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
        page.choose(folder / "png-rgb.png")
        assert page.driver.execute_script("return document.documentElement.scrollWidth <= innerWidth")
        for name in ("hint", "name", "score", "label", "threshold"):
            assert contrast(page, name) >= 4.5, name
    finally:
        page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def contrast(page, name):
    """Contrast of an element's text by WCAG 2.2, against the nearest background that is not transparent."""
    colours = page.driver.execute_script(
        """
        let element = arguments[0];
        const text = getComputedStyle(element).color;
        while (getComputedStyle(element).backgroundColor === "rgba(0, 0, 0, 0)") element = element.parentElement;
        return [text, getComputedStyle(element).backgroundColor].map((colour) => colour.match(/[0-9.]+/g).map(Number));
        """,
        page.find(name),
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
    page.driver.execute_script("take(new File([new Uint8Array([0xff, 0xd8, 0xff])], 'a.jpg'))")
    page.wait()
    assert page.text("error") == "This server asks for an access token; enter it above."
    page.find("token").send_keys("secret")
    page.driver.execute_script("take(new File([new Uint8Array([0xff, 0xd8, 0xff])], 'a.jpg'))")
    WebDriverWait(driver, 10).until(lambda _: 'signature name: "explain" not found' in page.text("error"))


def test_without_the_option_there_is_no_page(server):
    assert server.ask("GET", "/demo").status == 404
