"""`lae-tf predict --watch`: a line for each image of a folder, and for each that arrives, until Ctrl-C."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import click

from lae_tf.errors import shortened
from lae_tf.metrics.decision import score_text


def watch_folder(
    folder: str,
    ask: Callable[[list[str]], Iterator[Any]],
    record_of: Callable[[Any], dict[str, Any]],
    as_json: bool,
) -> None:
    """Score what is in a folder, then what arrives there; never returns.

    Args:
        folder: to watch.
        ask: gives a prediction for each of some files.
        record_of: gives the record of a prediction.
        as_json: print records instead of lines.
    """
    from lae_tf.predict.watching import arrivals

    click.echo(f"Watching {folder}; Ctrl-C ends it.", err=True)
    for arrived in arrivals(folder):
        for one in arrived.left_out:
            _show({"path": one.path, "error": one.sentence}, as_json)
        for prediction in ask(arrived.images):
            _show(record_of(prediction), as_json)


def _show(record: dict[str, Any], as_json: bool) -> None:
    if "error" in record:
        click.echo(f"Skipped: {record['error']}", err=True)
    if as_json:
        click.echo(json.dumps(record))
    elif "error" not in record:
        click.echo(line_of(record))


def line_of(record: dict[str, Any]) -> str:
    """Return a record as a line of the table."""
    score = score_text(record["score"], record["threshold"])
    line = f"{score}  {record['label']:<4}  {record['verdict']:<6}  {click.format_filename(record['path'])}"
    said = credentials_text(record["credentials"]) if "credentials" in record else ""
    return f"{line}  [credentials: {said}]" if said else line


def credentials_text(credentials: dict[str, Any]) -> str:
    """Return content credentials, fields of :class:`Credentials`, in a few words; nothing where there are none."""
    if not credentials["present"]:
        return ""
    said = [name for name in ("generated", "edited") if credentials[name]]
    signed = [f"signed by {shortened(credentials['issuer'])}"] if credentials["issuer"] else []
    return ", ".join(["valid" if credentials["valid"] else "not valid", *said, *signed])
