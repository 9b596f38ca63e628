"""Labelling configurations: which tag regions are drawn by, and what a hostile one is told."""

import pytest

from lae_tf.annotation.label_config import BRUSH, LARGEST_CONFIG, POLYGON, RECTANGLE, Control, read_control
from lae_tf.annotation.label_studio import LABELING_CONFIG
from lae_tf.errors import UsageError

IMAGE = '<Image name="picture" value="$url"/>'


def drawn(kind, name, *labels, to="picture"):
    return f'<{kind} name="{name}" toName="{to}">{"".join(labels)}</{kind}>'


def label(value, **others):
    return f'<Label value="{value}"' + "".join(f' {key}="{text}"' for key, text in others.items()) + "/>"


def test_the_exported_configuration_is_drawn_by_brush():
    assert read_control(LABELING_CONFIG) == Control(BRUSH, "brush", "image", "image", "forged")


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        (drawn("RectangleLabels", "box", label("fake")), (RECTANGLE, "box", "fake")),
        (
            drawn("RectangleLabels", "box", label("fake")) + drawn("PolygonLabels", "area", label("forged")),
            (POLYGON, "area", "forged"),
        ),
        (
            drawn("PolygonLabels", "area", label("a")) + drawn("BrushLabels", "stroke", label("b"), label("forged")),
            (BRUSH, "stroke", "forged"),
        ),
        # A tag on another object is none of the image's; names count, not places; an alias is what results say.
        (
            drawn("BrushLabels", "x", label("a"), to="text") + drawn("RectangleLabels", "y", label("b")),
            (RECTANGLE, "y", "b"),
        ),
        (drawn("brushlabels", "small", label("long words", alias="forged"), label("b")), (BRUSH, "small", "forged")),
        (drawn("BrushLabels", "two", label("a"), to="text,picture"), (BRUSH, "two", "a")),
    ],
)
def test_brush_before_polygon_before_rectangle(tags, expected):
    control = read_control(f"<View>{tags}<View>{IMAGE}</View></View>")
    assert control == Control(expected[0], expected[1], "picture", "url", expected[2])


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (None, "no labelling configuration"),
        ("", "not XML"),
        ("<View>", "not XML"),
        ("\ud800", "not XML"),
        ("<View/>", "no Image tag"),
        ('<View><Image value="$url"/></View>', "no Image tag with a name"),
        (f"<View>{IMAGE}</View>", "no BrushLabels, PolygonLabels or RectangleLabels for its image"),
        (f"<View>{IMAGE}{drawn('BrushLabels', 'b', to='other')}</View>", "no BrushLabels"),
        (f"<View>{IMAGE}{drawn('BrushLabels', 'b')}</View>", "BrushLabels 'b' has no label"),
        (f"<View>{IMAGE}{drawn('BrushLabels', 'b', label('x'), label('y'))}</View>", "has the labels x, y"),
        (
            f'<View><Image name="picture" value="a.png"/>{drawn("BrushLabels", "b", label("x"))}</View>',
            "has the value 'a.png'; expected the name of a field",
        ),
        ("<View>" + " " * LARGEST_CONFIG + "</View>", "characters"),
    ],
)
def test_what_cannot_be_drawn_in_is_refused_in_a_sentence(config, said):
    with pytest.raises(UsageError, match=said) as caught:
        read_control(config)
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)


def test_entities_are_not_expanded(tmp_path):
    """Neither a billion laughs nor a file of this machine."""
    secret = tmp_path / "secret"
    secret.write_text("password")
    laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 12))
    bombs = [
        f'<!DOCTYPE View [<!ENTITY l0 "ha">{laughs}]>',
        f'<!DOCTYPE View [<!ENTITY l11 SYSTEM "{secret.as_uri()}">]>',
    ]
    for bomb in bombs:
        with pytest.raises(UsageError, match="DOCTYPE") as caught:
            read_control(f"{bomb}<View>{IMAGE}{drawn('BrushLabels', 'b', label('&l11;'))}</View>")
        assert "password" not in str(caught.value)


def test_depth_is_no_matter():
    depth = LARGEST_CONFIG // 8
    with pytest.raises(UsageError, match="no Image tag"):
        read_control("<a>" * depth + "</a>" * depth)
