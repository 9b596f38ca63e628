"""Trains the ready model `lae-photo` on photographs whose licences allow it, and writes it as a preset with its card.

Usage: python benchmarks/lae_photo.py OUT [--elsewhere PHOTOS]

OUT/originals gets the photographs that benchmarks/lae_photo.csv lists: of packages of Debian 13, fetched by apt-get
from where this machine has its other packages, and of scikit-image and scikit-learn as installed. OUT/photographs are
copies of them, of sizes in which photographs are shared, OUT/run is the training (configs/lae-photo.yaml), and
OUT/lae-photo the preset. PHOTOS, a folder of other photographs, is what the card's numbers are measured on: without it
there are none.
Stopped at any moment it goes on where it was.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
HERE = Path(__file__).parent
LIST = HERE / "lae_photo.csv"
CONFIG = HERE.parent / "configs" / "lae-photo.yaml"
LICENCE = "CC BY 4.0"
SIDES = (400, 2400)
"""Longer sides of the copies, in pixels."""
COPIES = {"train": 12, "val": 3}
"""Of a photograph that is as large as the largest of them; of a smaller one fewer, as its range is smaller."""
DEBIAN, KEYS = "trixie", "/usr/share/keyrings/debian-archive-keyring.gpg"


def collect(folder: Path) -> list[Path]:
    """Copy the listed photographs to a folder, and return them in their order."""
    import pandas as pd

    listed = pd.read_csv(LIST)
    folder.mkdir(parents=True, exist_ok=True)
    for package, part in listed.groupby("package"):
        missing = [name for name in part["file"] if not (folder / Path(name).name).is_file()]
        if not missing:
            continue
        with tempfile.TemporaryDirectory() as temporary:
            source = _installed(package) or _unpacked(package, Path(temporary))
            for name in missing:
                (found,) = source.rglob(name)
                shutil.copy(found, folder / found.name)
    return [folder / Path(name).name for name in listed["file"]]


def resized(originals: list[Path], folder: Path) -> Path:
    """Make copies of photographs of many sizes, and return a manifest of them.

    Large ones are soft at their own size, and there few are seen: what people share was made smaller, by one filter or
    another, and is sharper.
    """
    import cv2
    import numpy as np
    import pandas as pd
    from PIL import Image
    from tqdm import tqdm

    from lae_tf.images.files import read_image, write_png

    rng, rows = np.random.default_rng(0), []
    low, high = np.log(SIDES)
    splits = pd.read_csv(LIST)["split"]
    for path, split in zip(tqdm(originals, desc="resize", unit=" photographs"), splits, strict=True):
        image = read_image(path)
        height, width = image.shape[:2]
        longest = max(height, width)
        reach = np.log(max(min(longest, SIDES[1]), SIDES[0] + 1)) - low
        count = max(1, round(COPIES[split] * reach / (high - low)))
        for number in range(count):
            # The last of a photograph that is not too large is the photograph itself.
            own = number == count - 1 and longest <= SIDES[1]
            side = longest if own else min(longest, int(np.exp(low + reach * (number + rng.uniform()) / count)))
            copy = image
            if side < longest:
                size = round(width * side / longest), round(height * side / longest)
                if rng.random() < 0.5:
                    copy = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
                else:
                    copy = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))
            name = f"{path.stem}-{number}.png"
            if not (folder / name).is_file():
                write_png(folder / name, copy)
            rows.append((f"{folder.name}/{name}", "real", "", path.name, "", split))
    manifest = folder.parent / "manifest.csv"
    pd.DataFrame(rows, columns=["path", "label", "mask", "group", "method", "split"]).to_csv(manifest, index=False)
    return manifest


def _installed(package: str) -> Path | None:
    """Return the folder of a Python package that comes with photographs."""
    module = {"scikit-image": "skimage", "scikit-learn": "sklearn"}.get(package)
    found = module and importlib.util.find_spec(module)
    return Path(found.origin).parent if found and found.origin else None


def _unpacked(package: str, folder: Path) -> Path:
    """Fetch a package of Debian 13 and unpack it, without installing it, whatever Debian this machine has."""

    def run(*command: str) -> str:
        return subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE, text=True).stdout

    known = run("apt-get", "indextargets", "--format", "$(REPO_URI)", "Component: main").split()
    archive = next(place for place in known if "security" not in place)
    (folder / "sources.list").write_text(f"deb [signed-by={KEYS}] {archive} {DEBIAN} main\n")
    for place in ("lists/partial", "cache/archives/partial"):
        (folder / place).mkdir(parents=True)
    own = {"Etc::SourceList": "sources.list", "Etc::SourceParts": "none", "State::Lists": "lists", "Cache": "cache"}
    apart = ["-o", "APT::Sandbox::User=root"]  # whose temporary folders apt's own user cannot enter
    apart += [word for name, place in own.items() for word in ("-o", f"Dir::{name}={folder / place}")]
    run("apt-get", *apart, "-qq", "update")
    run("apt-get", *apart, "-qq", "download", package)
    (fetched,) = folder.glob(f"{package}_*.deb")
    run("dpkg-deb", "-x", fetched.name, "unpacked")
    return folder / "unpacked"


def test_set(photos: Path, folder: Path) -> Path:
    """Forge photographs by methods that training lacks, save all as JPEG 75 to 95, and return their manifest."""
    import pandas as pd

    from lae_tf.errors import ImageError
    from lae_tf.forge.methods import METHODS, forge_image, generator
    from lae_tf.images.files import read_image, write_jpeg, write_png

    methods = ("splice", "splice-multiband", "copy-move", "inpaint-telea", "inpaint-biharmonic", "inpaint-patch")
    files = sorted(path for path in photos.iterdir() if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    rows = []

    def save(name: str, image, *history: str) -> None:
        quality = int(generator(0, "quality", *history).integers(75, 96))
        write_jpeg(folder / name, image, quality)

    for path in files:
        image = read_image(path)
        save(f"real/{path.stem}.jpg", image, "real", path.name)
        rows.append((f"real/{path.stem}.jpg", "real", "", path.stem, "", "test"))
        for method in methods:
            rng = generator(0, method, path.name)
            donor = read_image(files[rng.integers(len(files))]) if METHODS[method].needs_donor else None
            try:
                forged, mask = forge_image(method, image, rng, donor)
            except ImageError:
                continue  # too flat
            save(f"{method}/{path.stem}.jpg", forged, method, path.name)
            write_png(folder / "masks" / method / f"{path.stem}.png", 255 * mask)
            masked = f"masks/{method}/{path.stem}.png"
            rows.append((f"{method}/{path.stem}.jpg", "fake", masked, path.stem, method, "test"))
    manifest = folder / "manifest.csv"
    pd.DataFrame(rows, columns=["path", "label", "mask", "group", "method", "split"]).to_csv(manifest, index=False)
    return manifest


def card(evaluation, photographs: int) -> str:
    """Return the model card: what it finds, what it does not, and whose photographs it learned from."""
    import pandas as pd

    listed = pd.read_csv(LIST)
    authors = "\n".join(
        f"- {row.file} by {row.author}, {row.licence} ({row.package})" for row in listed.itertuples(index=False)
    )
    measured = "It was not measured on other photographs."
    if evaluation is not None:
        measured = (
            f"Measured on {photographs} photographs of another collection, forged by methods that training lacks, all "
            "saved as JPEG 75 to 95. Earlier trainings were measured on the same, so that these numbers may flatter. "
            "AUROC: of the images' scores against the real photographs; where: the matched pixel AUROC of the "
            "attention.\n\n"
            f"{verdicts(evaluation)}"
        )
    tag = LICENCE.lower().replace(" ", "-")
    return (HERE / "lae_photo_card.md").read_text().format(measured=measured, authors=authors, licence=LICENCE, tag=tag)


def verdicts(evaluation) -> str:
    """Return a table of what is said of real photographs and of each method's forgeries."""
    lines = ["| | AUROC | where | called fake | real | unsure |", "|:--|--:|--:|--:|--:|--:|"]
    for method, images in evaluation.frame.groupby("method"):
        shares = images["verdict"].value_counts(normalize=True)
        numbers = ["", ""]
        if method:
            row = evaluation.summary(method)
            numbers = [f"{row[name]:.2f}" for name in ("auroc", "matched_pixel_auroc")]
        numbers += [f"{100 * shares.get(verdict, 0):.0f} %" for verdict in ("fake", "real", "unsure")]
        lines.append(f"| {' | '.join([method or 'real photographs', *numbers])} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--elsewhere", type=Path)
    arguments = parser.parse_args()
    manifest = resized(collect(arguments.out / "originals"), arguments.out / "photographs")

    from lae_tf.config.sections import Config
    from lae_tf.evaluation.evaluate import evaluate_run
    from lae_tf.training.stages import train

    config = Config.read(CONFIG, [f"data.manifest={manifest.resolve()}", f"output={arguments.out / 'run'}"])
    run = train(config, resume=True)
    evaluation = None
    if arguments.elsewhere:
        evaluation = evaluate_run(run, [test_set(arguments.elsewhere, arguments.out / "elsewhere")])
    text = card(evaluation, 0 if evaluation is None else int((~evaluation.manifest.is_fake).sum()))
    shutil.rmtree(arguments.out / "lae-photo", ignore_errors=True)
    run.load_model().save_to_preset(arguments.out / "lae-photo", text)
    print(f"Written: {arguments.out / 'lae-photo'}; to ship it, copy it to lae_tf/presets/lae-photo.")


if __name__ == "__main__":
    main()
