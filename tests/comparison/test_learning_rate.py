"""The choice of a peer's learning rate: three short trainings, kept, gone on with, and made once."""

import json

import pytest

from lae_tf.comparison import learning_rate
from lae_tf.comparison.learning_rate import best_rate, choose_rate
from lae_tf.comparison.train_peer import Fitted
from lae_tf.config.sections import Config
from lae_tf.errors import LAEError
from lae_tf.files.locking import locked

CONFIG = Config.parse({"data": {"manifest": "m.csv", "image_size": 32}, "pretrain": {"learning_rate": 3e-4}})


@pytest.fixture
def trained(monkeypatch):
    """Stand in for the trainings: each rate comes to its number, or to an error; tell which were run."""
    outcomes, rates = {3e-4: 0.8, 1e-4: 0.9, 9e-4: 0.7}, []

    def fit(_, config):
        rate = config.pretrain.learning_rate
        rates.append(rate)
        if isinstance(outcomes[rate], BaseException):
            raise outcomes[rate]
        return Fitted(outcomes[rate], None, None)

    monkeypatch.setattr(learning_rate, "fit_peer", fit)
    monkeypatch.setattr(learning_rate, "build_peer", lambda name, size, view: name)
    return outcomes, rates


def test_the_rate_with_the_best_validation_is_chosen_once(trained, tmp_path):
    _, rates = trained
    file = tmp_path / "rates" / "peer.json"
    auroc = choose_rate("peer", CONFIG, file, {"seed": 0})
    assert auroc == {"3.00e-04": 0.8, "1.00e-04": 0.9, "9.00e-04": 0.7} and best_rate(auroc) == 1e-4
    assert choose_rate("peer", CONFIG, file, {"seed": 0}) == auroc and rates == [3e-4, 1e-4, 9e-4]
    choose_rate("peer", CONFIG, file, {"seed": 1})  # other settings: the file is begun anew
    assert len(rates) == 6 and json.loads(file.read_text())["settings"] == {"seed": 1}


def test_a_choice_cut_short_goes_on(trained, tmp_path):
    outcomes, rates = trained
    outcomes[1e-4] = KeyboardInterrupt()
    file = tmp_path / "peer.json"
    with pytest.raises(KeyboardInterrupt):
        choose_rate("peer", CONFIG, file, {})
    outcomes[1e-4] = 0.9
    assert best_rate(choose_rate("peer", CONFIG, file, {})) == 1e-4
    assert rates == [3e-4, 1e-4, 1e-4, 9e-4]


def test_of_equal_rates_the_peers_own_wins_and_a_diverged_one_never(trained, tmp_path):
    outcomes, _ = trained
    outcomes.update({3e-4: 0.9, 9e-4: LAEError("diverged")})
    auroc = choose_rate("peer", CONFIG, tmp_path / "peer.json", {})
    assert auroc["9.00e-04"] == 0 and best_rate(auroc) == 3e-4


def test_another_process_at_the_same_choice_is_told_of(trained, tmp_path):
    with locked(tmp_path / "peer.lock", ""), pytest.raises(LAEError, match="peer: another process chooses"):
        choose_rate("peer", CONFIG, tmp_path / "peer.json", {})
