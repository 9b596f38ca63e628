"""`lae-tf predict`: scores and heatmaps for images."""

from __future__ import annotations

import csv
import json
import sys
from collections import Counter
from pathlib import Path

import click


@click.command("predict")
@click.argument("run", type=click.Path(exists=True, file_okay=False))
@click.argument("paths", nargs=-1, required=True)
@click.option("--heatmaps", type=click.Path(file_okay=False), help="Write each image with its attention here, as PNG.")
@click.option("--csv", "csv_path", type=click.Path(dir_okay=False), help="Write the table here too.")
@click.option("--batch-size", type=click.IntRange(1), default=32, show_default=True, help="Images a step.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per image instead of the table.")
def command(
    run: str, paths: tuple[str, ...], heatmaps: str | None, csv_path: str | None, batch_size: int, as_json: bool
) -> None:
    """Score images: files, folders or glob patterns.

    SCORE is the probability that an image is fake; LABEL compares it with the threshold chosen on validation.
    A file that cannot be read is reported and skipped; the exit code is then 1.

    \b
    Example:
      lae-tf predict runs/first photos/ --heatmaps out/
    """
    from tqdm import tqdm

    from lae_tf.prediction import find_images, predict_files
    from lae_tf.training.run import Run

    files = find_images(paths)
    model = Run.open(run).load_model()
    names = heatmap_names(files) if heatmaps else {}
    records, failures = [], 0
    with tqdm(total=len(files), desc="predict", unit=" images", file=sys.stderr) as bar:
        for prediction in predict_files(model, files, batch_size):
            record = prediction.record()
            if prediction.error:
                failures += 1
                tqdm.write(f"Skipped: {prediction.error}", file=sys.stderr)
            elif heatmaps:
                record["heatmap"] = write_heatmap(Path(heatmaps) / names[prediction.path], prediction)
            if as_json:
                tqdm.write(json.dumps(record), file=sys.stdout)
            records.append(record)
            bar.update()
    scored = [record for record in records if "error" not in record]
    if not as_json:
        for record in scored:
            click.echo(f"{record['score']:.4f}  {record['label']:<4}  {click.format_filename(record['path'])}")
    if csv_path:
        write_csv(Path(csv_path), records)
    if not as_json:
        fakes = sum(record["label"] == "fake" for record in scored)
        click.echo(f"{len(scored)} scored, {fakes} fake, {failures} skipped.", err=True)
        for place in filter(None, (csv_path, heatmaps)):
            click.echo(f"Written: {place}", err=True)
    sys.exit(1 if failures else 0)


def heatmap_names(files: list[str]) -> dict[str, str]:
    """Return a PNG name for each file: its stem, with a number where that is taken already, case aside."""
    names: dict[str, str] = {}
    numbers: Counter[str] = Counter()
    taken = {""}
    for file in files:
        stem, name = Path(file).stem, ""
        while name.lower() in taken:
            numbers[stem] += 1
            name = f"{stem}.png" if numbers[stem] == 1 else f"{stem}-{numbers[stem]}.png"
        taken.add(name.lower())
        names[file] = name
    return names


def write_heatmap(path: Path, prediction) -> str:  # type: ignore[no-untyped-def]
    """Write the image with its attention laid over."""
    from lae_tf.data.images import write_png
    from lae_tf.evaluation.plots import overlay

    path.parent.mkdir(parents=True, exist_ok=True)
    write_png(path, overlay(prediction.image, prediction.attention))
    return str(path)


def write_csv(path: Path, records: list[dict]) -> None:
    """Write all records, errors included, atomically; a name that is no text keeps its bytes."""
    columns = ["path", "score", "label", "logit", "threshold", "heatmap", "error"]
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(records)
    temporary.replace(path)
