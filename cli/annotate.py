"""`lae-tf annotate`: draw masks in the browser."""

from __future__ import annotations

import json
import threading
import webbrowser

import click

from lae_tf.cli.inputs import RunPath, quoted
from lae_tf.errors import MissingExtraError


@click.command("annotate")
@click.argument("run", type=RunPath(exists=True))
@click.option("--round", "number", type=click.IntRange(1), help="Round of selection.  [default: the last]")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, show_default=True, help="0: any.")
@click.option("--no-browser", is_flag=True, help="Print the address, open nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the start-up line as a JSON object.")
def command(run: str, number: int | None, host: str, port: int, no_browser: bool, as_json: bool) -> None:
    """Draw masks for the selected images, in the browser.

    Every stroke is saved at once in RUN/rounds/N/annotations; close the page and go on whenever you like.
    End the command with Ctrl+C.

    \b
    Example:
      lae-tf annotate runs/first
    """
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError:
        raise MissingExtraError("lae-tf annotate", "ui") from None
    from lae_tf.annotation import serve
    from lae_tf.annotation.round import Round

    selected = Round.open(run, number)

    def announce(url: str) -> None:
        facts = {"url": url, "images": len(selected.items), "folder": str(selected.annotations)}
        click.echo(json.dumps(facts) if as_json else f"Draw masks for {len(selected.items)} images at {url}")
        if not as_json:
            click.echo(
                f"They are saved in {selected.annotations}. End with Ctrl+C, then: lae-tf import-masks {quoted(run)}"
            )
        if not no_browser:
            # A browser in the terminal would wait for the server that waits for it.
            threading.Thread(target=webbrowser.open, args=[url], daemon=True).start()

    if host not in ("127.0.0.1", "::1", "localhost"):
        click.echo(f"Warning: everyone who reaches {host} can see and draw; there is no password.", err=True)
    serve.serve(selected.items, selected.annotations, host, port, announce)
