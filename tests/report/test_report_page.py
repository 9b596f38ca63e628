"""The HTML page: self-contained, escaped, accessible, and written whole or not at all."""

import base64
import hashlib
import io
import re
import subprocess
import sys
from html.parser import HTMLParser
from importlib import resources

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lae_tf.evaluation.page import evaluation_sections
from lae_tf.evaluation.tables import evaluation_table
from lae_tf.report.page import Card, Example, Picture, Section, Shot, Table, write_report
from lae_tf.report.plots import roc_curves

VOID = {"meta", "img", "br", "hr", "link", "input"}


class Page(HTMLParser):
    """Collects tags with their attributes and the text inside; fails on tags that do not nest."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.texts: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if data.strip():
            self.texts.append((self.open[-1] if self.open else "", " ".join(data.split())))

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.tags if name == tag]

    def inside(self, tag: str) -> list[str]:
        return [text for name, text in self.texts if name == tag]


def pixel() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (2, 2), "red").save(buffer, "PNG")
    return buffer.getvalue()


def read(path, *sections: Section, **options) -> Page:
    return Page(write_report(path / "page.html", "Title", sections, **options).read_text(encoding="utf-8"))


def scores() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    label = np.repeat([0, 1, 1], 30)
    method = np.repeat(["", "splice", "inpaint"], 30)
    frame = pd.DataFrame(
        {"label": label, "method": method, "split": "test", "score": rng.uniform(0, 0.7, 90) + 0.3 * label}
    )
    frame["path"] = frame.index.astype(str)
    frame["group"] = (frame.index % 10).astype(str)
    frame["pixel_auroc"] = np.where(label == 1, rng.uniform(0.5, 1, 90), np.nan)
    return frame


def test_sections_in_order(tmp_path):
    frame = pd.DataFrame({"name": ["a"], "auroc": [0.75]})
    section = Section(
        "Heading",
        "First.\n\nSecond.",
        [Card("Seen", "0.9", "note")],
        [Table(frame, "Cap")],
        [Picture(pixel(), "Pic", "Alt")],
    )
    page = read(tmp_path, section, subtitle="Sub", provenance={"Command": "lae-tf evaluate"})
    assert page.inside("h1") == ["Title"] and page.inside("h2") == ["Heading"]
    assert page.inside("p") == ["Sub", "First.", "Second."]
    order = ["Sub", "Heading", "First.", "0.9", "note", "Cap", "AUROC", "0.750", "Pic", "lae-tf evaluate"]
    texts = [text for _, text in page.texts]
    assert [text for text in texts if text in order] == order


def test_nothing_comes_from_elsewhere(tmp_path):
    page = read(tmp_path, Section(pictures=[Picture(pixel(), "c", "a")], cards=[Card("l", "v")]))
    assert not {tag for tag, _ in page.tags} & {"script", "link", "iframe", "object", "base"}
    assert all(attributes["src"].startswith("data:image/png;base64,") for attributes in page.all("img"))
    style = " ".join(page.inside("style"))
    assert "url(" not in style and "@import" not in style
    policy = next(a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy


def test_the_one_script_is_allowed_by_its_hash_alone(tmp_path):
    evil = "<script>alert(1)</script>"
    table = Table(pd.DataFrame({evil: [evil], "score": [0.5]}), evil, sortable=True)
    page = read(tmp_path, Section(tables=[table], links={"predictions.csv": evil, "a b&\"'<.csv": "odd"}))
    (script,) = re.findall(r"<script>(.*?)</script>", (tmp_path / "page.html").read_text("utf-8"), re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = next(a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert f"script-src 'sha256-{digest}'" in policy and policy.count("script-src") == 1
    assert [a["href"] for a in page.all("a")] == ["predictions.csv", "a%20b%26%22%27%3C.csv"]
    assert evil in page.inside("button") and [a["data-order"] for a in page.all("td")] == ["0.5"]
    plain = read(tmp_path, Section(tables=[Table(table.frame, "c")]))
    assert not plain.all("script") and not plain.all("button")


def test_examples(tmp_path):
    evil = "<img src=x onerror=alert(1)>.png"
    red = np.zeros((3, 5, 3), np.uint8)
    red[..., 0] = 255
    shots = [Shot.of(red, evil), Shot.of(np.eye(4), "mask"), Shot.of(None, "map", absent=evil)]
    page = read(tmp_path, Section(heat="warm", examples=[Example(shots, evil, f"/data/{evil}", "wrong")]))
    images = [decoded(attributes["src"]) for attributes in page.all("img")]
    assert [one.size for one in images] == [(5, 3), (4, 4)]
    assert np.array_equal(np.asarray(images[0].convert("RGB")), red), "colours stay in their order"
    assert np.array_equal(np.asarray(images[1]), 255 * np.eye(4))
    assert page.inside("figcaption") == [evil, "mask", "map"] and page.inside("p")[-2:] == [evil, f"/data/{evil}"]
    assert evil in page.inside("div") and all("onerror" not in attributes for _, attributes in page.tags)
    assert any("linear-gradient" in a.get("style", "") for a in page.all("span"))


def decoded(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


def test_code_keeps_its_lines(tmp_path):
    read(tmp_path, Section(code="17: superficial\n40: keep <b>"))
    assert "<pre>17: superficial\n40: keep &lt;b&gt;</pre>" in (tmp_path / "page.html").read_text("utf-8")


def test_plots_have_no_ground_of_their_own(tmp_path):
    page = read(tmp_path, Section(pictures=[Picture.of(roc_curves({"a": ([0, 1], [0.1, 0.9])}), "c", "a")]))
    (image,) = page.all("img")
    pixels = np.asarray(decoded(image["src"]).convert("RGBA"))
    assert image["class"] == "plot" and pixels[0, 0, 3] == 0 and pixels[..., 3].max() == 255


def themes() -> dict[str, dict[str, np.ndarray]]:
    """The colours of the style by theme: names to RGB in [0, 1]."""
    style = (resources.files("lae_tf.report") / "templates" / "report.css").read_text()
    found = {}
    for theme, block in zip(("light", "dark"), re.findall(r":root \{(.*?)\}", style, re.DOTALL), strict=True):
        colours = {
            name: np.array([int(value[i : i + 2], 16) for i in (0, 2, 4)]) / 255
            for name, value in re.findall(r"--([a-z-]+): #([0-9a-f]{6})", block)
        }
        accent = re.search(r"--accent: (\d+) (\d+) (\d+)", block)
        colours["accent"] = np.array([int(part) for part in accent.groups()]) / 255
        found[theme] = colours
    return found


def contrast(one: np.ndarray, other: np.ndarray) -> float:
    """WCAG 2's ratio."""
    linear = [np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) for c in (one, other)]
    light, dark = sorted((float(c @ [0.2126, 0.7152, 0.0722]) for c in linear), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_is_legible(theme):
    assert contrast(np.zeros(3), np.ones(3)) == pytest.approx(21)
    colours = themes()[theme]
    strongest = 0.26 * colours["accent"] + 0.74 * colours["sheet"]
    grounds = {"page": colours["page"], "sheet": colours["sheet"], "strongest tint": strongest}
    for name, ground in grounds.items():
        for text in ("ink", "soft"):
            assert contrast(colours[text], ground) >= 4.5, (text, name)
    for badge in ("seen", "unseen"):
        assert contrast(colours[badge], colours[f"{badge}-page"]) >= 4.5
        assert contrast(colours[badge], colours["sheet"]) >= 4.5
    assert contrast(colours["accent"], colours["page"]) >= 4.5


def test_everything_is_escaped(tmp_path):
    evil = "<script>alert(1)</script>\" onload='x'"
    frame = pd.DataFrame({evil: [evil], "seen": [evil], "auroc": [0.5]})
    section = Section(evil, evil, [Card(evil, evil, evil)], [Table(frame, evil)], [Picture(pixel(), evil, evil)])
    page = Page(
        write_report(tmp_path / "p.html", evil, [section], subtitle=evil, provenance={evil: evil}).read_text("utf-8")
    )
    assert page.all("script") == []
    assert all("onload" not in attributes for _, attributes in page.tags)
    assert page.inside("h1") == [evil] and page.all("img")[0]["alt"] == evil
    assert page.inside("dd") == [evil]


def test_accessible(tmp_path):
    table = evaluation_table(scores(), 0.5, ["splice"], seed=0, draws=20)
    page = read(tmp_path, *evaluation_sections(table), Section(pictures=[Picture(pixel(), "c", "what it shows")]))
    assert page.all("html")[0]["lang"] == "en"
    assert any(attributes.get("name") == "viewport" for attributes in page.all("meta"))
    assert {attributes["scope"] for attributes in page.all("th")} == {"col", "row"}
    assert len(page.all("caption")) == len(page.all("table")) == 3
    assert page.all("img")[0]["alt"] == "what it shows"
    # A table wider than a phone scrolls by keyboard, under a name.
    regions = [a for a in page.all("div") if a.get("role") == "region"]
    assert len(regions) == 3 and all(a["tabindex"] == "0" and a["aria-label"] for a in regions)
    assert "prefers-color-scheme: dark" in " ".join(page.inside("style"))


def test_evaluation_gives_the_answer_first(tmp_path):
    table = evaluation_table(scores(), 0.5, ["splice"], seed=0, draws=20)
    headings = [section.heading for section in evaluation_sections(table)]
    assert headings == ["Results", "Detection", "Where the model looks"]
    cards = {card.label: card for card in evaluation_sections(table)[0].cards}
    unseen = table[(table["method"] == "unseen mean") & (table["level"] == "image")].iloc[0]
    assert cards["Accuracy, unseen manipulations"].value == f"{unseen['accuracy']:.3f}"
    assert (
        f"{unseen['accuracy_low']:.3f} to {unseen['accuracy_high']:.3f}" in cards["Accuracy, unseen manipulations"].note
    )
    assert cards["Pixel AUROC of attention, unseen"].value == f"{unseen['pixel_auroc']:.3f}"
    page = read(tmp_path, *evaluation_sections(table))
    assert {a["class"] for a in page.all("span") if a["class"].startswith("badge")} == {
        "badge seen",
        "badge unseen",
    }
    assert not any(text.lower() == "nan" or text.endswith(("_low", "_high")) for _, text in page.texts)


def test_two_groups_have_no_interval(tmp_path):
    frame = scores().assign(group=lambda f: (f.index % 2).astype(str))
    table = evaluation_table(frame, 0.5, ["splice"], seed=0, draws=20)
    sections = evaluation_sections(table)
    assert {card.note for card in sections[0].cards} == {"2 groups, too few for an interval"}
    page = read(tmp_path, *sections)
    assert page.inside("th").count("splice") == 3
    intervals = [text for tag, text in page.texts if tag == "span" and ("interval" in text or " to " in text)]
    assert set(intervals) == {"2 groups, too few for an interval"}


def test_evaluation_of_reals_alone():
    reals = scores().query("label == 0").drop(columns="pixel_auroc")
    sections = evaluation_sections(evaluation_table(reals, 0.5, ["splice"], seed=0, draws=5))
    assert [section.heading for section in sections] == ["Detection"]


def test_cells(tmp_path):
    frame = pd.DataFrame(
        {
            "method": ["a", "b", "drop"],
            "auroc": [0.75, np.nan, -0.5],
            "auroc_low": [0.5, np.nan, np.nan],
            "auroc_high": [1.0, np.nan, np.nan],
            "eer": [0.1, 0.5, 0.2],
            "seconds": [1.5, 2.5, 3.5],
            "images": [3, 4, 5],
        }
    )
    page = read(tmp_path, Section(tables=[Table(frame, "c")]))
    assert page.inside("th") == ["method", "AUROC", "EER", "seconds", "images", "a", "b", "drop"]
    assert page.inside("td") == [
        *("0.750", "0.100", "1.500", "3"),
        *("–", "0.500", "2.500", "4"),
        *("−0.500", "0.200", "3.500", "5"),
    ]
    assert page.inside("span") == ["0.500 to 1.000"]
    # AUROC .75 is half way from chance to perfect, EER .1 has .8 of the way; other columns and drops have no tint.
    tints = [float(a["style"].split(":")[1]) for a in page.all("td") if "style" in a]
    assert tints == [0.5, 0.8, 0.0]


def test_tensorflow_is_not_needed():
    code = (
        "import sys, lae_tf.report.page, lae_tf.evaluation.localisation\n"
        "assert not {'tensorflow', 'keras', 'matplotlib.pyplot'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
