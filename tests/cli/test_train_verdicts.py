"""What `lae-tf train` says of verdicts."""

import pytest

from lae_tf.cli.train import describe_verdicts

DECISION = {"threshold": 0.5, "error_rate": 0.1, "validation_images": 30, "validation_reals": 10}


@pytest.mark.parametrize(
    ("lowest_fake", "highest_real", "said"),
    [
        (0.25, 0.75, "real below 0.250, fake above 0.750"),
        (0.75, 0.25, "real below 0.500, fake above 0.500"),  # the kinds lie apart: the threshold decides
        (0.25, 0.45, "real below 0.250, fake above 0.500"),
    ],
)
def test_the_range_of_unsure_scores(capsys, lowest_fake, highest_real, said):
    describe_verdicts({**DECISION, "lowest_fake": lowest_fake, "highest_real": highest_real})
    out, err = capsys.readouterr()
    assert out == f"Verdicts, at most 10 % of each kind wrong: {said}, else unsure.\n" and err == ""


@pytest.mark.parametrize(
    ("rate", "verdicts"),
    [
        # Of 10 real images and 20 fakes 1 / alpha - 1 = 9, 19 and 24 are needed.
        (0.1, []),
        (0.05, [("fake", 19, "real", 10)]),
        (0.04, [("real", 24, "fake", 20), ("fake", 24, "real", 10)]),
    ],
)
def test_too_few_validation_images_are_told(capsys, rate, verdicts):
    describe_verdicts({**DECISION, "lowest_fake": 0.0, "highest_real": 1.0, "error_rate": rate})
    assert capsys.readouterr().err.splitlines() == [
        f"Warning: no verdict is {verdict}, since errors of {100 * rate:g} % take at least {needed} {other} validation "
        f"images, and there are {count}."
        for verdict, needed, other, count in verdicts
    ]
