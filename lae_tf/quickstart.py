"""The whole main job on real photographs that come with scikit-image and scikit-learn, in a few minutes."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from lae_tf.annotation.surroundings import Cut, write_surroundings
from lae_tf.config.sections import Config
from lae_tf.data.manifest import Manifest
from lae_tf.datasets.forging import ForgeOptions, forge_folder
from lae_tf.datasets.photographs import photograph_tiles
from lae_tf.evaluation.degraded import chosen_degradations
from lae_tf.evaluation.evaluate import Evaluation, evaluate_run
from lae_tf.evaluation.page import write_evaluation
from lae_tf.training.run import Run
from lae_tf.training.stages import train

SEEN = ("inpaint-telea", "splice")
UNSEEN = ("inpaint-ns", "copy-move")
COMPRESSED = "jpeg-90,jpeg-75"
TILES_PER_PHOTOGRAPH = 64
SIDE = 64
"""Of a tile, in pixels."""


def quickstart(folder: Path, seed: int = 0) -> tuple[Run, Evaluation, Path]:
    """Make data, train both stages, evaluate on seen and unseen methods, as stored and as JPEG, and write the page.

    Photographs never cross splits. Training and validation hold the seen methods alone.

    Args:
        folder: where everything goes; started again, it goes on where it stopped.
        seed: of the data and the training.

    Returns:
        The run, its evaluation and the page.
    """
    folder.mkdir(parents=True, exist_ok=True)
    manifest_path = make_data(folder, seed)
    # The configuration is copied beside the data, where it is read like any user's own.
    config_path = folder / "config.yaml"
    config_path.write_text((resources.files("lae_tf.configs") / "quickstart.yaml").read_text(), encoding="utf-8")
    config = Config.read(config_path, [f"seed={seed}"]).model_copy(update={"output": str(folder / "run")})
    write_first_round(folder, config)
    run = train(config, resume=True)
    evaluation = evaluate_run(
        run, [manifest_path], batch_size=config.data.batch_size, degradations=chosen_degradations(COMPRESSED)
    )
    page = write_evaluation(run, evaluation, run.report, title="Quickstart: two manipulations seen, two unseen")
    return run, evaluation, page


def write_first_round(folder: Path, config: Config) -> None:
    """Write first-round.yaml: the same data without a single mask, to try selection and annotation on."""
    manifest = Manifest.read(config.data.manifest)
    frame = manifest.frame[manifest.frame["split"] != "test"].assign(mask="").reset_index(drop=True)
    bare = Path(config.data.manifest).with_name("no-masks.csv")
    if not bare.exists():
        Manifest(frame, manifest.root).write(bare)
    data = config.data.model_copy(update={"manifest": f"data/{bare.name}", "mask_share": None})
    update = {"data": data, "output": str(folder / "first-round")}
    config.model_copy(update=update).write(folder / "first-round.yaml")


def make_data(folder: Path, seed: int) -> Path:
    """Cut tiles, forge them and write the manifest; return its path."""
    path = folder / "data" / "manifest.csv"
    if path.exists() and (folder / "data" / "complete").exists():
        return path
    tiles = photograph_tiles(folder / "tiles", size=SIDE, seed=seed, limit=TILES_PER_PHOTOGRAPH)
    forged = forge_folder(
        tiles["path"].tolist(),
        folder / "data",
        methods=[*SEEN, *UNSEEN],
        seed=seed,
        options=ForgeOptions(
            groups=dict(zip(tiles["path"], tiles["group"], strict=True)),
            group_splits=dict(zip(tiles["group"], tiles["split"], strict=True)),
        ),
    )
    frame = forged.manifest.frame
    kept = frame[(frame["split"] == "test") | ~frame["method"].isin(UNSEEN)].reset_index(drop=True)
    Manifest(kept, forged.manifest.root).write(path)
    cuts = {
        (row["group"], Path(row["path"]).stem): Cut(Path(row["source"]), row["left"], row["top"], SIDE, SIDE)
        for row in tiles.to_dict("records")
    }
    images = zip(kept["path"], kept["group"], strict=True)
    write_surroundings(folder / "data", [(image, cuts[group, Path(image).stem]) for image, group in images])
    (folder / "data" / "complete").touch()
    return path
