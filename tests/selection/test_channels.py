"""Channel concepts against values worked out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from test_strategies import make_features

from lae_tf.errors import UsageError
from lae_tf.selection.channels import describe_channels, read_verdicts
from lae_tf.selection.features import ChannelActivity


def activity(inside: list[float], total: list[float], maps: np.ndarray | None = None) -> ChannelActivity:
    channels = len(total)
    return ChannelActivity(
        np.zeros((2, 2, channels)) if maps is None else maps, np.array(inside, float), np.array(total, float), 1
    )


def features_with(evidence: list[list[float]]):  # type: ignore[no-untyped-def]
    features = make_features(len(evidence), channels=len(evidence[0]))
    object.__setattr__(features, "evidence", np.array(evidence, np.float32))
    return features


def test_superficiality_by_hand() -> None:
    # Mean evidence on fakes 2, 1, 1, 0; on real images 0, 0.25, 3, 1: realness 0, 0.25, 1 (capped), 1 (no fakes).
    fakes = features_with([[2, 1, 1, 0], [2, 1, 1, 0]])
    reals = features_with([[0, 0.25, 3, 1]])
    bare = describe_channels(fakes, activity([0] * 4, [0] * 4), None, None, reals)
    assert bare.superficiality.tolist() == pytest.approx([0, 0.25, 1, 1])
    assert np.isnan(bare.inside).all()
    # With masks: shares inside 0.5, 0.8, 1 and unknown: 1 - 1 * 0.5, 1 - 0.75 * 0.8, 1, 1.
    seen = describe_channels(fakes, activity([0] * 4, [0] * 4), fakes, activity([1, 4, 2, 0], [2, 5, 2, 0]), reals)
    assert seen.superficiality.tolist() == pytest.approx([0.5, 0.4, 1, 1])
    # Image evidence 1, 1, 2, 0: superficial share (0.5 + 0.4 + 2) / 4.
    assert seen.superficial_share(np.array([[1.0, 1, 2, 0], [0, 0, 0, 0]])).tolist() == pytest.approx([0.725, 0])


def test_a_persons_verdict_overrules() -> None:
    fakes, reals = features_with([[1, 1]]), features_with([[1, 0]])
    concepts = describe_channels(fakes, activity([0, 0], [0, 0]), None, None, reals, {0: "keep", 1: "superficial"})
    assert concepts.superficiality.tolist() == [0, 1]
    assert concepts.judged.tolist() == [True, True]


def test_centroid_and_spread_of_maps() -> None:
    maps = np.zeros((2, 4, 3))
    maps[0, 0, 0] = 5.0  # one cell: its centre is at row 0.25, column 0.125
    maps[:, :, 1] = 1.0  # uniform: the middle; variance of rows 1/16, of columns 5/64
    concepts = describe_channels(
        features_with([[1, 1, 1]]), activity([0] * 3, [0] * 3, maps), None, None, features_with([[0, 0, 0]])
    )
    assert concepts.centroid.tolist() == pytest.approx(np.array([[0.25, 0.125], [0.5, 0.5], [0.5, 0.5]]))
    assert concepts.spread.tolist() == pytest.approx([0, np.sqrt(1 / 16 + 5 / 64), 0])


def test_reasons_in_words() -> None:
    concepts = describe_channels(
        features_with([[1, 1, 1]]), activity([0] * 3, [0] * 3), None, None, features_with([[1, 0, 0.9]])
    )
    assert concepts.reason(np.array([8.0, 2.0, 0.0])) == (
        "80 % of the evidence from channel 0, which also fires on real images"
    )
    assert concepts.reason(np.array([5.0, 2.0, 3.0])) == (
        "80 % of the evidence from channels 0 and 2, which also fire on real images"
    )
    assert concepts.reason(np.array([0.0, 1.0, 0.0])) == "evidence from sound channels only"
    assert concepts.reason(np.zeros(3)) == "no evidence for fake at all"


def test_verdicts_are_read_and_refused(tmp_path: Path) -> None:
    file = tmp_path / "verdicts.yaml"
    file.write_text("17: superficial\n3: keep\n")
    assert read_verdicts(file, 20) == {17: "superficial", 3: "keep"}
    for text, complaint in [
        ("20: keep", "channel 20 does not exist"),
        ("3: maybe", "expected keep or superficial"),
        ("- 3", "expected a mapping"),
        ("a: keep", "does not exist"),
        ("{", "cannot be read as YAML"),
        ("!!python/object/apply:os.system ['true']", "cannot be read as YAML"),
    ]:
        file.write_text(text)
        with pytest.raises(UsageError, match=complaint):
            read_verdicts(file, 20)
