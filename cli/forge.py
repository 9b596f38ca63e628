"""`lae-tf forge`: training forgeries with exact masks from real images alone."""

from __future__ import annotations

import json
import sys

import click

from lae_tf.cli.inputs import RealImagesPath, quoted
from lae_tf.cli.output_path import OutputPath
from lae_tf.cli.splits import division_options
from lae_tf.datasets import DEFAULT_FORGERIES


def _list_methods(context: click.Context, parameter: click.Parameter, value: str) -> str:
    """Print the methods and end, if that is what --methods asks for."""
    if value != "list":
        return value
    from lae_tf.forge import METHODS

    for name, method in METHODS.items():
        click.echo(f"{name:<20}{method.summary}")
    context.exit()


@click.command("forge")
@click.argument("real_dir", type=RealImagesPath(exists=True))
@click.argument("out_dir", type=OutputPath(file_okay=False))
@click.option(
    "--methods",
    default=",".join(DEFAULT_FORGERIES),
    show_default=True,
    is_flag=False,
    flag_value="list",
    is_eager=True,
    callback=_list_methods,
    help="Ways to forge, separated by commas; 'all' are those that need no face, 'faces' those that need one; "
    "without a value: list them and end.",
)
@click.option(
    "--per-image",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Forgeries per image and method.",
)
@division_options("Shares of the images.", "Same seed, same images: same forgeries and splits.")
@click.option(
    "--post-process",
    is_flag=True,
    help="Resize, blur, add noise and compress at random, real and forged images alike.",
)
@click.option(
    "--jpeg",
    type=(click.IntRange(1, 100), click.IntRange(1, 100)),
    metavar="LOW HIGH",
    help="Save all images, real and forged alike, as JPEG of a quality drawn from this range, not without loss.",
)
@click.option("--workers", type=click.IntRange(min=1), help="Threads; default: one per processor.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    real_dir: str,
    out_dir: str,
    methods: str,
    per_image: int,
    splits: tuple[float, float, float],
    seed: int,
    post_process: bool,
    jpeg: tuple[int, int] | None,
    workers: int | None,
    as_json: bool,
) -> None:
    """Make forgeries with exact masks from real images.

    Writes copies of the real images, the forgeries, their masks and manifest.csv to OUT_DIR. An image and
    its forgeries are in one split, as are the frames of a video (of `lae-tf frames`). Interrupted, the same
    command goes on where it stopped. Images that cannot be read or forged are reported and skipped; then the
    exit code is 1.

    \b
    Example:
      lae-tf forge --methods
      lae-tf forge photos/ forged/ --methods splice,inpaint-telea --seed 7
      lae-tf forge portraits/ forged/ --methods face-swap,self-blend-face
      lae-tf forge photos/ forged/ --jpeg 75 95
    """
    from lae_tf.datasets.forging import ForgeOptions, forge_folder
    from lae_tf.forge import METHODS, PostProcessing

    sets = {
        "all": [name for name, method in METHODS.items() if not method.needs_face],
        "faces": [name for name, method in METHODS.items() if method.needs_face],
    }
    asked = [name.strip() for name in methods.split(",") if name.strip()]
    names = [name for one in asked for name in sets.get(one, [one])]
    result = forge_folder(
        real_dir,
        out_dir,
        names,
        seed,
        options=ForgeOptions(
            per_image=per_image,
            splits=splits,
            post_processing=PostProcessing() if post_process else None,
            jpeg=jpeg,
            workers=workers,
        ),
    )
    manifest = result.manifest.root / "manifest.csv"
    counts = result.manifest.counts()
    if as_json:
        found = {"manifest": str(manifest), "counts": counts, "problems": result.problems}
        click.echo(json.dumps(found, indent=2))
    else:
        for split, numbers in counts.items():
            click.echo(f"{split:<5}  {numbers['real']} real, {numbers['fake']} fake")
        click.echo(f"Manifest: {manifest}")
        for problem in result.problems:
            click.echo(f"Skipped: {problem}", err=True)
        if all(counts.get(split, {}).get(kind) for split in ("train", "val") for kind in ("real", "fake")):
            click.echo(f"Next:     lae-tf train {quoted(str(manifest))} --output runs/first")
        else:
            click.echo(
                "Training needs real images and fakes in both 'train' and 'val', and a split lacks them: take the "
                "skipped images away or bring more, and forge into a new folder.",
                err=True,
            )
    if result.problems:
        sys.exit(1)
