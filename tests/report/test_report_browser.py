"""The pages in a real Chromium: sorting, no script but the page's own, dark mode, a phone, and paper."""

import base64
import io
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from selenium.webdriver.common.by import By

from lae_tf.evaluation.page import evaluation_sections
from lae_tf.evaluation.tables import evaluation_table
from lae_tf.report.page import Example, Picture, Section, Shot, Table, write_report
from lae_tf.report.plots import roc_curves

pytestmark = pytest.mark.browser

EVIL = "<img src=x onerror='document.title=1'><script>document.title=1</script>.png"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    rng = np.random.default_rng(0)
    label = np.repeat([0, 1, 1], 20)
    method = np.repeat(["", "a manipulation of a long name", "splice"], 20)
    scores = pd.DataFrame({"label": label, "method": method, "split": "test", "score": rng.uniform(0, 1, 60)})
    scores = scores.assign(path=scores.index.astype(str), group=(scores.index % 10).astype(str))
    scores["pixel_auroc"] = np.where(label == 1, 0.9, np.nan)
    table = pd.DataFrame({"image": ["b10", "b9", EVIL], "score": [0.5, 1e-07, 0.25], "count": [9, 10, -3]})
    shots = [Shot.of(np.full((8, 8, 3), 0.5), f"map {number}") for number in range(9)]
    sections = [
        *evaluation_sections(evaluation_table(scores, 0.5, ["splice"], seed=0, draws=20)),
        Section(
            "Plots and images",
            pictures=[Picture.of(roc_curves({"splice": (label, scores["score"])}), EVIL, EVIL)],
            heat="attention",
            examples=[Example(shots, EVIL, f"/a/very/long/path{'/folder' * 30}/{EVIL}", "wrong")],
        ),
        Section("Every image", links={EVIL: EVIL}, tables=[Table(table, EVIL, sortable=True)]),
    ]
    return write_report(tmp_path_factory.mktemp("page") / "page.html", "Title", sections, provenance={EVIL: EVIL})


@pytest.fixture
def opened(driver, page):
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    driver.get(page.as_uri())
    return driver


def order(driver) -> list[str]:
    return [row.text for row in driver.find_elements(By.CSS_SELECTOR, ".sortable tbody th")]


def test_a_click_sorts_and_another_turns_the_order(opened):
    assert order(opened) == ["b10", "b9", EVIL]
    image, score, count = opened.find_elements(By.CSS_SELECTOR, ".sortable thead button")
    score.click()
    assert order(opened) == ["b9", EVIL, "b10"], "numbers by value, also very small ones"
    headings = opened.find_elements(By.CSS_SELECTOR, ".sortable thead th")
    assert [heading.get_attribute("aria-sort") for heading in headings] == [None, "ascending", None]
    score.click()
    assert order(opened) == ["b10", EVIL, "b9"]
    count.click()
    assert order(opened) == [EVIL, "b10", "b9"]
    image.click()
    assert order(opened) == [EVIL, "b9", "b10"], "numbers in names by value"


def test_names_stay_text(opened):
    assert opened.title == "Title"
    assert opened.find_elements(By.CSS_SELECTOR, "img[src='x']") == []
    opened.execute_script(
        "const s = document.createElement('script'); s.textContent = 'document.title=2'; document.body.append(s)"
    )
    assert opened.title == "Title", "the policy allows no script but the page's own"


def shot(driver, element) -> np.ndarray:
    driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
    return np.asarray(Image.open(io.BytesIO(element.screenshot_as_png)).convert("L"), float)


def test_plots_are_dark_in_dark_mode(opened):
    plot = opened.find_element(By.CSS_SELECTOR, "img.plot")
    light = shot(opened, plot)
    assert np.median(light) > 240 and light.min() < 80
    dark_mode = {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", dark_mode)
    dark = shot(opened, plot)
    assert np.median(dark) < 50 and dark.max() > 180
    # Photographs stay as they are.
    grey = shot(opened, opened.find_element(By.CSS_SELECTOR, ".shot img"))
    assert np.median(grey) == pytest.approx(128, abs=1)


@pytest.mark.parametrize("width", [420, 1100])
def test_nothing_but_tables_is_wider_than_the_window(opened, width):
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    opened.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    assert opened.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    inside = (
        "return [...document.querySelectorAll('figure, .example, p, li')].every(e => "
        "e.getBoundingClientRect().right <= innerWidth + 1 && e.scrollWidth <= e.clientWidth + 1)"
    )
    assert opened.execute_script(inside)


def test_paper_cuts_no_column_and_has_no_blank_page(opened, tmp_path):
    """Every table is as wide as the sheet at most, and text or a picture is on every page."""
    options = {"printBackground": True, "paperWidth": 8.27, "paperHeight": 11.69}
    pdf = base64.b64decode(opened.execute_cdp_cmd("Page.printToPDF", options)["data"])
    (tmp_path / "page.pdf").write_bytes(pdf)
    # The width between the margins of @page: 210 mm less twice 12 mm, in CSS pixels.
    size = {"width": round((210 - 24) / 25.4 * 96), "height": 1000, "deviceScaleFactor": 1, "mobile": False}
    opened.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    fits = "return [...document.querySelectorAll('table')].every(t => t.getBoundingClientRect().right <= innerWidth)"
    assert opened.execute_script(fits)
    if shutil.which("pdftoppm") is None:
        pytest.skip("no pdftoppm to look at the sheets with")
    subprocess.run(["pdftoppm", "-r", "30", "-gray", "page.pdf", "sheet"], cwd=tmp_path, check=True)
    sheets = [np.asarray(Image.open(file)) for file in sorted(tmp_path.glob("sheet*"))]
    assert sheets and all((sheet < 200).mean() > 0.002 for sheet in sheets)
