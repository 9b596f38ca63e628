"""`lae-tf serve`: the TensorFlow Serving REST API on this machine."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from lae_tf.cli.inputs import ExportPath
from lae_tf.cli.quiet import import_tensorflow
from lae_tf.cli.secrets import read_secret
from lae_tf.errors import MissingExtraError, UsageError

_FILE = click.Path(path_type=Path, dir_okay=False)


def _not_grpc(context: click.Context, option: click.Parameter, value: str | None) -> None:
    if value is not None:
        raise UsageError(
            f"--port is TensorFlow Serving's option for gRPC, which is not served here; for the REST API say "
            f"--rest-api-port {value}."
        )


@click.command("serve")
@click.argument("export_dir", required=False, type=ExportPath(path_type=Path))
@click.option("--model-name", metavar="N", help="Name in URLs.  [default: the folder's]")
@click.option("--model-config-file", type=_FILE, help="Several models (text ModelServerConfig).")
@click.option("--rest-api-port", type=click.IntRange(0, 65535), default=8501, show_default=True, help="0: any.")
@click.option("--port", hidden=True, expose_value=False, callback=_not_grpc, help="TensorFlow Serving's for gRPC.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--enable-batching", is_flag=True, help="Run waiting requests together.")
@click.option("--batching-parameters-file", type=_FILE, help="How to batch (text); implies --enable-batching.")
@click.option("--monitoring-config-file", type=_FILE, help="Metrics page (text MonitoringConfig).")
@click.option("--rest-api-timeout-in-ms", type=click.IntRange(1), default=30000, show_default=True)
@click.option("--rest-api-enable-cors-support", is_flag=True, help="Let pages of other origins call.")
@click.option(
    "--file-system-poll-wait-seconds",
    type=click.IntRange(0),
    default=1,
    show_default=True,
    help="Time between looks for new versions; 0: look once.",
)
@click.option("--max-body-mib", type=click.IntRange(1), default=100, show_default=True, help="Largest body.")
@click.option("--max-image-megapixels", type=click.IntRange(1), default=64, show_default=True, help="Largest image.")
@click.option("--max-images", type=click.IntRange(1), default=256, show_default=True, help="Images in a request.")
@click.option(
    "--max-request-megapixels", type=click.IntRange(1), default=256, show_default=True, help="All images in a request."
)
@click.option("--max-connections", type=click.IntRange(1), default=1024, show_default=True, help="Open at one time.")
@click.option(
    "--allowed-host",
    "hosts",
    multiple=True,
    metavar="NAME",
    help="A name under which clients reach this server, besides --host, localhost and IP addresses; * for any. "
    "Repeat it for more.",
)
@click.option("--token-file", type=_FILE, help="Ask every request for the bearer token in this file.")
@click.option("--demo", is_flag=True, help="Also serve a page at /demo: drop images, see verdicts and where.")
@click.option("--access-log/--no-access-log", default=True, show_default=True, help="JSON lines on stderr.")
@click.option(
    "--check",
    "check_url",
    metavar="URL",
    help="Serve nothing; hold the server at URL against EXPORT_DIR's golden images. Exit code 1: it differs.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object: the start-up line, or the check.")
def command(
    export_dir: Path | None,
    model_name: str | None,
    model_config_file: Path | None,
    batching_parameters_file: Path | None,
    monitoring_config_file: Path | None,
    token_file: Path | None,
    check_url: str | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Serve exports through TensorFlow Serving's REST API.

    EXPORT_DIR holds numbered versions, or one folder that holds them. New versions are loaded when they
    appear. Options are named after tensorflow_model_server's.

    \b
    Example:
      lae-tf serve exports
      curl -d '{"instances": [{"b64": "..."}]}' localhost:8501/v1/models/lae:predict
      lae-tf serve exports --check http://localhost:8501
    """
    if export_dir and model_config_file:
        raise UsageError("Give either EXPORT_DIR or --model-config-file, not both.")
    if model_config_file and model_name:
        raise UsageError("--model-name goes with EXPORT_DIR; --model-config-file names its models itself.")
    token = read_secret(token_file, "token", "ascii") if token_file else None
    if check_url:
        if export_dir is None:
            raise UsageError("--check needs EXPORT_DIR, the directory that `lae-tf export` wrote.")
        sys.exit(_check(check_url, export_dir, model_name or "lae", token, as_json))
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError:
        raise MissingExtraError("lae-tf serve", "serve") from None
    import_tensorflow(keep_memory=False)
    from lae_tf.serving import launch
    from lae_tf.serving.engine import config_files
    from lae_tf.serving.rest.connections import ConnectionLimits
    from lae_tf.serving.rest.request_body import Limits

    batching = None
    if batching_parameters_file:
        batching = config_files.read_batching_parameters(batching_parameters_file)
    elif given["enable_batching"]:
        batching = config_files.BatchingParameters()
    if model_config_file:
        configs = config_files.read_model_config(model_config_file)
    elif export_dir is None:
        raise UsageError("Give EXPORT_DIR, the directory that `lae-tf export` wrote, or --model-config-file.")
    else:
        configs = [launch.find_model(export_dir, model_name)]
    options = launch.Options(
        host=given["host"],
        port=given["rest_api_port"],
        batching=batching,
        poll_seconds=given["file_system_poll_wait_seconds"],
        limits=Limits(
            timeout_seconds=given["rest_api_timeout_in_ms"] / 1000,
            body_bytes=given["max_body_mib"] * 2**20,
            image_pixels=given["max_image_megapixels"] * 1_000_000,
            images=given["max_images"],
            # An image that is allowed is allowed alone.
            request_pixels=max(given["max_request_megapixels"], given["max_image_megapixels"]) * 1_000_000,
            pixels_held=max(2 * given["max_request_megapixels"], given["max_image_megapixels"]) * 1_000_000,
        ),
        metrics_path=config_files.read_metrics_path(monitoring_config_file) if monitoring_config_file else None,
        token=token,
        cors=given["rest_api_enable_cors_support"],
        demo=given["demo"],
        hosts=given["hosts"],
        connections=ConnectionLimits(given["max_connections"]),
        log_requests=given["access_log"],
    )
    if options.host not in ("127.0.0.1", "::1", "localhost") and not options.token:
        click.echo(f"Warning: {options.host} is open to others; consider --token-file and a proxy.", err=True)
    launch.serve(configs, options, lambda facts: _announce(facts, as_json))


def _check(url: str, export_dir: Path, model: str, token: str | None, as_json: bool) -> int:
    """Print how a server scores the golden images; return the exit code."""
    try:
        from lae_tf.serving.client.check import check_server, find_golden
    except ImportError:
        raise MissingExtraError("lae-tf serve --check", "serve") from None
    images = check_server(url, find_golden(export_dir), model, token)
    wrong = [image for image in images if image.problems]
    if as_json:
        facts = {"url": url, "passed": not wrong, "images": [vars(image) for image in images]}
        click.echo(json.dumps(facts))
        return 1 if wrong else 0
    width = max(len(image.file) for image in images)
    click.echo(f"{'image':<{width}}  {'expected':>9}  {'alone':>9}  {'together':>9}")
    for image in images:
        scores = [image.expected, image.alone, image.together]
        columns = "  ".join(f"{'-' if score is None else f'{score:.6f}':>9}" for score in scores)
        click.echo(f"{image.file:<{width}}  {columns}  {'differs' if image.problems else 'ok'}")
    for image in wrong:
        for problem in image.problems:
            click.echo(f"{image.file} {problem}", err=True)
    click.echo(f"{len(images) - len(wrong)} of {len(images)} golden images score as in the checkpoint.")
    return 1 if wrong else 0


def _announce(facts: dict[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(facts))
        return
    for model in facts["models"]:
        versions = ", ".join(map(str, model["versions"]))
        click.echo(f"Serving {model['name']} (version {versions}) at {facts['url']}/v1/models/{model['name']}")
    if "demo" in facts:
        click.echo(f"Demo page: {facts['demo']}")
