"""The `lae-tf` command: finds the verbs and turns errors into one sentence and an exit code."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from difflib import get_close_matches

import click

from lae_tf.cli.interruption import INTERRUPTED, interrupts_kept, leave, say_interrupted
from lae_tf.errors import LAEError, shortened
from lae_tf.version import __version__

# A verb's module has its name, its command the summary; it is imported when it is used.
VERBS = (
    "quickstart",
    "forge",
    "frames",
    "manifest",
    "check-data",
    "config",
    "train",
    "calibrate",
    "select",
    "annotate",
    "pre-annotate",
    "export-tasks",
    "import-masks",
    "masks",
    "loop",
    "evaluate",
    "benchmark",
    "models",
    "predict",
    "explain",
    "score",
    "export",
    "serve",
    "info",
)

INSIST = 1.0  # seconds until a Ctrl-C that did not surface is sent again


class VerbGroup(click.Group):
    """A group that knows its verbs' names without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in VERBS:
            return None
        module = importlib.import_module(f"lae_tf.cli.{name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple:
        if args and args[0] not in VERBS and not args[0].startswith("-") and not ctx.resilient_parsing:
            close = get_close_matches(args[0], VERBS, n=1)
            hint = f" Did you mean '{close[0]}'?" if close else " See lae-tf --help."
            raise click.UsageError(f"No such command '{args[0]}'.{hint}", ctx=ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary(self.get_command(ctx, name))) for name in VERBS])


def summary(command: click.Command | None) -> str:
    """Return the first paragraph of a command's help, which is its summary."""
    help_text = inspect.cleandoc(command.help or "") if command else ""
    return " ".join(help_text.partition("\n\n")[0].split())


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
            cli(prog_name="lae-tf", standalone_mode=False)
    except (click.exceptions.Abort, KeyboardInterrupt):
        say_interrupted()
        return INTERRUPTED
    except click.ClickException as error:
        _with_hint(error).show()
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


def _with_hint(error: click.ClickException) -> click.ClickException:
    """Return click's own error with what it leaves open: an example, or the option that was perhaps meant."""
    context = getattr(error, "ctx", None)
    if context is None:
        return error
    if isinstance(error, click.MissingParameter):
        examples = (context.command.help or "").partition("Example:")[2].splitlines()
        example = next((line.strip() for line in examples if line.strip().startswith(context.command_path)), "")
        hint = example and f"For example: {example}"
        return click.MissingParameter(hint, context, error.param, error.param_hint, error.param_type)
    if isinstance(error, click.NoSuchOption):
        known = [name for option in context.command.params for name in option.opts]
        longer = [name for name in known if name.endswith(error.option_name.lstrip("-"))]
        if longer:  # as in --port, which is --rest-api-port
            return click.NoSuchOption(error.option_name, f"{error.message} Did you mean {longer[0]}?", ctx=context)
        if not error.possibilities:
            return click.NoSuchOption(
                error.option_name, f"{error.message} See {context.command_path} --help.", ctx=context
            )
    return error


if __name__ == "__main__":
    main()
