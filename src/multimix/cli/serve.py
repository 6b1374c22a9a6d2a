"""`multimix serve`."""

from pathlib import Path

import click

from multimix.cli.options import only_model, weights_option
from multimix.errors import UsageError


@click.command()
@click.argument("run", required=False, type=click.Path(path_type=Path))
@weights_option
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address; any but this computer's own needs a token.",
)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0 takes a free one."
)
@click.option("--token-file", type=click.Path(path_type=Path), help="File whose first line is the token.")
@click.option(
    "--allow-host", multiple=True, metavar="NAME", help="Name of a proxy in front; may be repeated."
)
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda or mps.")
@click.option("--threads", type=click.IntRange(1), help="Processor threads. [default: all cores]")
@click.option("--max-mib", type=click.IntRange(1), default=64, show_default=True, help="MiB in a request.")
@click.option(
    "--max-files", type=click.IntRange(1), default=32, show_default=True, help="Images in a request."
)
@click.option(
    "--max-megapixels", type=click.IntRange(1, 100), default=36, show_default=True, help="Megapixels of each."
)
@click.option(
    "--timeout", type=click.FloatRange(1), default=60.0, show_default=True, help="Seconds for an answer."
)
def serve(
    run: Path | None,
    weights: str | None,
    host: str,
    port: int,
    token_file: Path | None,
    allow_host: tuple[str, ...],
    device: str,
    threads: int | None,
    max_mib: int,
    max_files: int,
    max_megapixels: int,
    timeout: float,
) -> None:
    """Answer images over HTTP: a page for people at /, an API at /v1/predict.

    \b
    Examples:
      multimix serve RUN
      multimix serve --weights chest-xray
      multimix serve RUN --host 0.0.0.0 --token-file token.txt
      curl -F files=@chest.png http://127.0.0.1:8000/v1/predict

    The token may also stand in the environment as MULTIMIX_TOKEN; clients send it as `Authorization: Bearer
    TOKEN`. Images stay in memory and are neither written nor logged. Not for clinical use.
    """
    try:
        from multimix.serve.server import serve as run_server
        from multimix.serve.settings import Limits, settings_for
    except ImportError as error:
        raise UsageError(
            f"multimix serve needs {error.name}, which is not installed; run `pip install 'multimix[serve]'`."
        ) from error

    limits = Limits(
        body_bytes=max_mib * 2**20,
        files=max_files,
        pixels=max_megapixels * 1_000_000,
        seconds=timeout,
        held_bytes=max(256, max_mib) * 2**20,
    )
    settings = settings_for(host, _token(token_file), allow_host, limits)
    run_server(only_model(weights, run), host, port, settings, device, threads or 0)


def _token(file: Path | None) -> str | None:
    """The token of `file`, else of the environment, else none."""
    import os

    if file is None:
        return os.environ.get("MULTIMIX_TOKEN") or None
    try:
        lines = file.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "no text"
        raise UsageError(f"--token-file {file}: cannot be read ({reason}); name a text file.") from error
    if len(lines) != 1:
        raise UsageError(f"--token-file {file}: expected one line with the token, found {len(lines)} words.")
    return lines[0]
