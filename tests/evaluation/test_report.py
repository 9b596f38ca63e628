"""The HTML page: self-contained, escaped, accessible, and written whole or not at all."""

import io
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pandas as pd
from PIL import Image

from lae_tf.evaluation.report import Card, Picture, Section, Table, evaluation_sections, write_report
from lae_tf.evaluation.tables import evaluation_table

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
    assert page.inside("span") == ["0.500 to 1.000", "– to –"]
    # AUROC .75 is half way from chance to perfect, EER .1 has .8 of the way; other columns and drops have no tint.
    tints = [float(a["style"].split(":")[1]) for a in page.all("td") if "style" in a]
    assert tints == [0.5, 0.8, 0.0]


def test_tensorflow_is_not_needed():
    code = (
        "import sys, lae_tf.evaluation.report, lae_tf.evaluation.localisation\n"
        "assert not {'tensorflow', 'keras', 'matplotlib.pyplot'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
