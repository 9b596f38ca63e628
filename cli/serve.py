"""`lae-tf serve`: the TensorFlow Serving REST API on this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from lae_tf.errors import MissingExtraError, UsageError

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command("serve")
@click.argument("export_dir", required=False, type=click.Path(path_type=Path))
@click.option("--model-name", metavar="N", help="Name in URLs.  [default: the folder's]")
@click.option("--model-config-file", type=_FILE, help="Several models (text ModelServerConfig).")
@click.option("--rest-api-port", type=click.IntRange(0, 65535), default=8501, show_default=True, help="0: any.")
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
@click.option("--token-file", type=_FILE, help="Ask every request for the bearer token in this file.")
@click.option("--access-log/--no-access-log", default=True, show_default=True, help="JSON lines on stderr.")
@click.option("--json", "as_json", is_flag=True, help="Print the start-up line as a JSON object.")
def command(
    export_dir: Path | None,
    model_name: str | None,
    model_config_file: Path | None,
    batching_parameters_file: Path | None,
    monitoring_config_file: Path | None,
    token_file: Path | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Serve an export through TensorFlow Serving's REST API, without Docker.

    EXPORT_DIR holds numbered versions, or one folder that holds them. New versions are loaded when they
    appear. Options are named after tensorflow_model_server's.

    \b
    Example:
      lae-tf serve exports
      curl -d '{"instances": [{"b64": "..."}]}' localhost:8501/v1/models/lae:predict
    """
    if export_dir and model_config_file:
        raise UsageError("Give either EXPORT_DIR or --model-config-file, not both.")
    if model_config_file and model_name:
        raise UsageError("--model-name goes with EXPORT_DIR; --model-config-file names its models itself.")
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError:
        raise MissingExtraError("lae-tf serve", "serve") from None
    from lae_tf.serving import config_files, launch, server

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
        limits=server.Limits(
            timeout_seconds=given["rest_api_timeout_in_ms"] / 1000,
            body_bytes=given["max_body_mib"] * 2**20,
            image_pixels=given["max_image_megapixels"] * 1_000_000,
        ),
        metrics_path=monitoring_config_file and config_files.read_metrics_path(monitoring_config_file),
        token=_read_token(token_file),
        cors=given["rest_api_enable_cors_support"],
        log_requests=given["access_log"],
    )
    if options.host not in ("127.0.0.1", "::1", "localhost") and not options.token:
        click.echo(f"Warning: {options.host} is open to others; consider --token-file and a proxy.", err=True)
    launch.serve(configs, options, lambda facts: _announce(facts, as_json))


def _read_token(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        token = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read as a token: {error}.") from None
    if not token:
        raise UsageError(f"{path} holds no token; write one line into it.")
    return token


def _announce(facts: dict[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(facts))
        return
    for model in facts["models"]:
        versions = ", ".join(map(str, model["versions"]))
        click.echo(f"Serving {model['name']} (version {versions}) at {facts['url']}/v1/models/{model['name']}")
