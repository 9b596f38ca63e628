"""`lae-tf pre-annotate`: the attention as predictions for people who draw masks in Label Studio."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import click

from lae_tf.cli.model_choice import choose_source, model_option
from lae_tf.cli.quiet import import_tensorflow
from lae_tf.cli.secrets import read_secret
from lae_tf.errors import MissingExtraError, UsageError


@click.command("pre-annotate")
@click.argument("run", required=False, type=click.Path())
@model_option
@click.option(
    "--files",
    "folders",
    multiple=True,
    required=True,
    type=click.Path(exists=True, file_okay=False),
    metavar="FOLDER",
    help="Where the images of the tasks are: Label Studio's LOCAL_FILES_DOCUMENT_ROOT; of uploads, the folder media of "
    "its data. Repeat it for both.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=9090, show_default=True, help="0: any.")
@click.option(
    "--allowed-host",
    "hosts",
    multiple=True,
    metavar="NAME",
    help="A name under which Label Studio reaches this server, besides --host, localhost and IP addresses; * for any. "
    "Repeat it for more.",
)
@click.option(
    "--basic-auth-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Ask every request for the USER:PASSWORD in this file; without it, for none.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the start-up line as a JSON object.")
def command(
    run: str | None,
    preset: str | None,
    folders: tuple[str, ...],
    host: str,
    port: int,
    hosts: tuple[str, ...],
    basic_auth_file: Path | None,
    as_json: bool,
) -> None:
    """Suggest masks to people who draw in Label Studio.

    Runs an ML backend, which Label Studio asks for predictions: what the attention of RUN, a trained run, or of a ready
    model (--model) marks above 0.5, at the image's own size. They are brush strokes where the project has BrushLabels,
    else polygons or boxes, labelled "forged" or with the only label that there is. In Label Studio give the printed URL
    under Settings, Model. Images are read below FOLDER alone and nothing is fetched; a task whose image is not there
    gets an empty prediction, and a line here. Nothing is trained by it: export, and `lae-tf import-masks`.

    `lae-tf annotate` draws a round of selection on a page of its own; this takes any tasks, hence another verb. End it
    with Ctrl+C.

    \b
    Example:
      lae-tf pre-annotate runs/first --files to_draw/
    """
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError:
        raise MissingExtraError("lae-tf pre-annotate", "ui") from None
    source, rest = choose_source(click.get_current_context(), (run,) if run else (), preset)
    if rest:
        raise UsageError(f"{rest[0]}: is no trained run; folders of images are named by --files.")
    credentials = _read_credentials(basic_auth_file) if basic_auth_file else None
    import_tensorflow()
    from lae_tf.annotation import ml_backend
    from lae_tf.annotation.pre_annotation import PreAnnotator
    from lae_tf.annotation.serve import run_app
    from lae_tf.annotation.task_files import TaskFiles

    model = source.load()
    facts = source.record(model)
    version = f"{facts['model']} {facts['digest']}"
    annotator = PreAnnotator(model, version, TaskFiles(folders), partial(click.echo, err=True))
    app = ml_backend.create_app(annotator, ml_backend.Access((host, *hosts), credentials))

    def announce(url: str) -> None:
        if as_json:
            click.echo(json.dumps({"url": url, "model_version": version}))
            return
        click.echo(f"Suggesting masks by {version} at {url}\nIn Label Studio: Settings, Model, Connect Model.")

    if host not in ("127.0.0.1", "::1", "localhost") and not credentials:
        click.echo(f"Warning: everyone who reaches {host} can ask; consider --basic-auth-file.", err=True)
    run_app(app, host, port, announce)


def _read_credentials(path: Path) -> str:
    text = read_secret(path, "USER:PASSWORD", "utf-8")
    user, colon, password = text.partition(":")
    if not (user and colon and password):
        raise UsageError(f"{path} holds no USER:PASSWORD; write one line of it into the file.")
    return text
