"""The `lae-tf` command: finds the verbs and turns errors into one sentence and an exit code."""

from __future__ import annotations

import importlib
import os
import sys

import click

from lae_tf import __version__
from lae_tf.cli.interruption import INTERRUPTED, interrupts_kept, leave, say_interrupted
from lae_tf.cli.quiet import import_tensorflow
from lae_tf.errors import LAEError, shortened

# verb -> (module, function); a verb's module is imported when it is used, so that `--help` stays fast.
VERBS = {
    "quickstart": "Train and evaluate on real photographs, in a few minutes.",
    "forge": "Make training forgeries with exact masks from real images.",
    "frames": "Extract faces, or whole frames, from videos.",
    "manifest": "Write the manifest of a known data set.",
    "check-data": "Check a data set before training: give-aways, leaks, masks, labels.",
    "train": "Train a detector from a configuration.",
    "select": "Select the images most worth a mask.",
    "annotate": "Draw masks for the selected images, in the browser.",
    "export-tasks": "Write selected images as tasks for Label Studio or COCO tools.",
    "import-masks": "Bring drawn masks into the manifest.",
    "masks": "Make masks without drawing, by differencing from the sources.",
    "loop": "Run the selection study unattended, on data whose masks are known.",
    "evaluate": "Evaluate on seen and unseen manipulations.",
    "benchmark": "Compare with peers on manipulations that none has seen.",
    "predict": "Score images and draw heatmaps.",
    "explain": "Explain decisions by several methods, and measure which to trust.",
    "score": "Score tables of any size, on this machine or on a cluster.",
    "export": "Export a run as SavedModel, parity-checked, for TensorFlow Serving.",
    "serve": "Serve exports with TensorFlow Serving's REST API.",
    "info": "Print versions, the stack and devices.",
}
# predict and serve import it themselves, where they have no server to ask.
WITHOUT_TENSORFLOW = {
    "forge",
    "check-data",
    "annotate",
    "export-tasks",
    "import-masks",
    "masks",
    "manifest",
    "predict",
    "serve",
}

INSIST = 1.0  # seconds until a Ctrl-C that did not surface is sent again


class VerbGroup(click.Group):
    """A group that knows its verbs' names and summaries without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in VERBS:
            return None
        module = importlib.import_module(f"lae_tf.cli.{name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple:
        from difflib import get_close_matches

        if args and args[0] not in VERBS and not args[0].startswith("-"):
            close = get_close_matches(args[0], VERBS, n=1)
            hint = f" Did you mean '{close[0]}'?" if close else " See lae-tf --help."
            raise click.UsageError(f"No such command '{args[0]}'.{hint}", ctx=ctx)
        if args and args[0] in VERBS and args[0] not in WITHOUT_TENSORFLOW and not {"-h", "--help"} & set(args):
            import_tensorflow()
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))


@click.group(cls=VerbGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="lae-tf")
def cli() -> None:
    """Detect deepfakes that were never seen before, and show where an image was forged."""


def main() -> None:
    """Entry point of the console script."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # TensorFlow Addons announces its end of life on every import; the choice of it is documented in the README.
    os.environ.setdefault("PYTHONWARNINGS", "ignore::UserWarning:tensorflow_addons")
    code = _run()
    if code == INTERRUPTED and getattr(sys.modules["__main__"], "main", None) is main:  # not within another program
        leave(code)
    sys.exit(code)


def _run() -> int:
    """Run the command; return its exit code."""
    try:
        with interrupts_kept(INSIST):
            cli(standalone_mode=False)
    except (click.exceptions.Abort, KeyboardInterrupt):
        say_interrupted()
        return INTERRUPTED
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except LAEError as error:
        click.echo(f"Error: {error}", err=True)
        return error.exit_code
    except BrokenPipeError:  # whoever reads has read enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:  # a full disk, a folder that must not be written to, a file in a folder's place
        place = "" if error.filename is None else f"{error.filename}: "
        click.echo(shortened(f"Error: {place}{error.strerror or error}."), err=True)
        return 1
    return 0


if __name__ == "__main__":
    main()
