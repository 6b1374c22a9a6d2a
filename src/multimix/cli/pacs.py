"""`multimix pacs run` and `multimix pacs status`."""

import json
import logging
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from multimix.cli.options import names, only_model, weights_option
from multimix.errors import UsageError

if TYPE_CHECKING:
    from multimix.pacs.answerer import Answerer
    from multimix.pacs.config import PacsConfig
    from multimix.pacs.queue import Queue
    from multimix.pacs.worker import Worker

QUEUE = "pacs-queue"
SHOWN = 20
"""Waiting images that `status` lists; failed ones are all listed."""


@click.group()
def pacs() -> None:
    """Answer the radiographs of an archive (PACS) and store the results beside them.

    \b
    Examples:
      multimix pacs run RUN --dicomweb https://archive.example/dicom-web --once
      multimix pacs run RUN --config pacs.yaml
      multimix pacs status
    """


@pacs.command()
@click.argument("run", required=False, type=click.Path(path_type=Path))
@weights_option
@click.option("--config", type=click.Path(path_type=Path), help="YAML file; see docs/pacs.md.")
@click.option("--dicomweb", metavar="URL", help="Archive: QIDO finds images, WADO brings them, STOW stores.")
@click.option("--modality", metavar="NAME[,NAME]", help="Modalities to answer. [default: CR,DX,SC,OT]")
@click.option("--since", metavar="YYYY-MM-DD", help="Only studies of this day or later. [default: all]")
@click.option("--port", type=int, help="Listen on this port as a DIMSE node, instead of searching.")
@click.option("--address", help="Address to listen on. [default: 127.0.0.1]")
@click.option("--ae-title", metavar="TITLE", help="Own AE title. [default: MULTIMIX]")
@click.option("--accept", multiple=True, metavar="TITLE@ADDRESS", help="Who may send; may be repeated.")
@click.option(
    "--peer",
    multiple=True,
    metavar="TITLE@HOST:PORT",
    help="Send results there by C-STORE, instead of STOW; may be repeated.",
)
@click.option("--queue", metavar="FOLDER", help=f"What waits is kept here. [default: {QUEUE}]")
@click.option("--once", is_flag=True, help="End when nothing waits any more; a node does not listen.")
@click.option(
    "--wait",
    type=click.FloatRange(min=0),
    default=60.0,
    show_default=True,
    help="With --once: seconds to go on where the archive is down.",
)
@click.option("--retry-failed", is_flag=True, help="Fetch the failed and skipped images again.")
@click.option("--results", metavar="NAME[,NAME]", help="What is stored. [default: seg,sr,overlay]")
@click.option(
    "--force",
    is_flag=False,
    flag_value="all",
    metavar="[=REASON,...]",
    help="Answer what would be skipped too: for all reasons, or for those of modality, body-part, view, raw, unlike, "
    "capture.",
)
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda or mps.")
def run(
    run: Path | None,
    weights: str | None,
    config: Path | None,
    once: bool,
    wait: float,
    retry_failed: bool,
    device: str,
    **options: Any,
) -> None:
    """Answer new radiographs: segmentation, report and overlay go into the same study.

    \b
    Examples:
      multimix pacs run RUN --dicomweb https://archive.example/dicom-web --since 2026-01-01
      multimix pacs run RUN --port 11112 --accept SCANNER@10.0.0.5 --peer ARCHIVE@10.0.0.9:104
      multimix pacs run RUN --config pacs.yaml --once
      multimix pacs run --weights chest-xray --config pacs.yaml

    Each image is answered once, however often this runs. An archive that is down is tried again; nothing is lost
    when this is killed. Credentials come from MULTIMIX_PACS_TOKEN, or MULTIMIX_PACS_USER and MULTIMIX_PACS_PASSWORD.
    With --once the exit status is 1 where an image failed or still waits, not where one was skipped. Not for clinical
    use.
    """
    _check_extra()
    model = only_model(weights, run)
    settings = _settings(config, options)
    settings.check()
    if retry_failed and settings.node.port is not None:
        raise UsageError(
            "--retry-failed: with --port images are sent, not fetched. Send what failed to the node again."
        )
    from pydicom import config as pydicom_config

    from multimix.pacs.answerer import Answerer

    # pydicom's warnings about malformed values quote them, and values are patient data.
    with pydicom_config.disable_value_validation(), _logging(logging.WARNING if once else logging.INFO):
        answerer = Answerer.load(model, device, settings.force, settings.chest)
        _work(settings, answerer, once, wait, retry_failed)


@pacs.command()
@click.option(
    "--queue",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    default=QUEUE,
    show_default=True,
    help="The one that `pacs run` was given.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
def status(queue: Path, as_json: bool) -> None:
    """Print the queue: what waits, what failed and why, what is done.

    \b
    Example:
      multimix pacs status --queue pacs-queue
    """
    from sqlite3 import Error

    from multimix.pacs.rows import DONE, WAITING, QueueView, unusable

    view = QueueView(queue)
    try:
        counts, trouble = view.counts(), view.fact("trouble")
        rows = view.rows("failed", "skipped", *WAITING)
    except Error as error:
        raise unusable(queue, error) from error
    finally:
        view.close()
    if as_json:
        listed = [{"image": r.uid, "study": r.study, "state": r.state, "reason": r.reason} for r in rows]
        click.echo(json.dumps({"counts": counts, "trouble": trouble, "images": listed}, indent=2))
        return
    waiting = sum(counts[state] for state in WAITING)
    parts = ", ".join(f"{counts[state]} {state}" for state in WAITING)
    click.echo(f"{queue}: {waiting} waiting ({parts}), {', '.join(f'{counts[s]} {s}' for s in DONE)}")
    if trouble:
        click.echo(f"Trouble: {trouble}")
    settled, others = ([row for row in rows if (row.state in DONE) is kind] for kind in (True, False))
    for row in sorted(settled, key=lambda row: row.state) + others[:SHOWN]:
        click.echo(f"{row.state:8}  {row.uid}{f'  {row.reason}' if row.reason else ''}")
    if len(others) > SHOWN:
        click.echo(f"... and {len(others) - SHOWN} more that wait (--json lists all)")


def _check_extra() -> None:
    try:
        import dicomweb_client  # noqa: F401
        import highdicom  # noqa: F401
        import prometheus_client  # noqa: F401
        import pynetdicom  # noqa: F401
    except ImportError as error:
        raise UsageError(
            f"`multimix pacs` needs {error.name}, which is not installed; run `pip install 'multimix[pacs]'`."
        ) from error


def _settings(file: Path | None, options: dict[str, Any]) -> "PacsConfig":
    """The file's values, over which the options win."""
    from multimix.pacs.config import PacsConfig

    base = PacsConfig.read(file) if file is not None else PacsConfig()
    given: dict[str, Any] = {
        "queue": options["queue"],
        "results": options["results"] and list(names(options["results"])),
        "force": options["force"] and _reasons(options["force"]),
    }
    given["dicomweb"] = {
        "url": options["dicomweb"],
        "modalities": options["modality"] and list(names(options["modality"])),
        "since": options["since"],
    }
    given["node"] = {
        "port": options["port"],
        "address": options["address"],
        "ae_title": options["ae_title"],
        "accept": list(options["accept"]) or None,
    }
    given["peer"] = _peer(options["peer"]) if options["peer"] else {}
    return PacsConfig.from_mapping(_given(given), base)


def _reasons(text: str) -> list[str]:
    from multimix.pacs.config import REASONS

    given = list(REASONS) if text == "all" else list(names(text))
    if unknown := [name for name in given if name not in REASONS]:
        raise UsageError(
            f"--force: expected all, or some of {', '.join(REASONS)}, got {unknown[0]!r}. Before another argument "
            "write --force=all."
        )
    return given


def _given(options: dict[str, Any]) -> dict[str, Any]:
    """Without the options that were left out."""
    return {
        name: _given(value) if isinstance(value, dict) else value
        for name, value in options.items()
        if value is not None
    }


def _peer(texts: Sequence[str]) -> dict[str, Any]:
    from multimix.pacs.config import peer_address

    first, *others = texts
    return {**peer_address("--peer", first), "also": others}


def _work(settings: "PacsConfig", answerer: "Answerer", once: bool, wait: float, retry_failed: bool) -> None:
    from multimix.cli.progress import bar
    from multimix.pacs.queue import Queue
    from multimix.pacs.service import serving

    queue = Queue(Path(settings.queue))
    try:
        queue.claim(answerer.algorithm.weights)
        if retry_failed:
            queue.retry("failed", "skipped")
        before = queue.counts()
        with serving(settings, queue, answerer, listen=not once) as worker, _stoppable(worker):
            if not once:
                worker.run()
                click.echo("Stopped; what waits is kept.", err=True)
                return
            with bar("Answering", "images") as report:
                worker.report = lambda done, total: report(done, total, {})
                finished = worker.run_once(wait)
        _summary(queue, before, finished)
    finally:
        queue.close()


def _summary(queue: "Queue", before: dict[str, int], finished: bool) -> None:
    from multimix.pacs.rows import WAITING

    after = queue.counts()
    waiting = sum(after[state] for state in WAITING)
    answered, skipped, failed = (after[state] - before[state] for state in ("sent", "skipped", "failed"))
    click.echo(f"{queue.folder}: {answered} answered, {skipped} skipped, {failed} failed, {waiting} waiting")
    if failed > 0 or skipped > 0:
        click.echo(f"Reasons: multimix pacs status --queue {queue.folder}", err=True)
    if not finished:
        click.echo(f"Not finished: {queue.fact('trouble') or 'stopped'}; run again to go on.", err=True)
    if failed > 0 or not finished:
        raise SystemExit(1)


@contextmanager
def _stoppable(worker: "Worker") -> Iterator[None]:
    """SIGTERM and Ctrl-C break off what the worker waits for and let it end what it computes.

    A second Ctrl-C does not wait for that either.
    """

    def end(number: int, frame: object) -> None:
        if worker.stop.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        worker.end()

    old = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


@contextmanager
def _logging(level: int) -> Iterator[None]:
    """Lines of the worker on standard error."""
    logger, handler = logging.getLogger("multimix.pacs"), logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
