"""Puts the parts together as a configuration says, and takes them apart again."""

import logging
import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from multimix.pacs.answerer import Answerer
from multimix.pacs.archive import Archive
from multimix.pacs.audit import AuditLog
from multimix.pacs.commitment import Reports
from multimix.pacs.config import Credentials, PacsConfig
from multimix.pacs.events import Event, Tell
from multimix.pacs.metrics import Metrics, MetricsServer
from multimix.pacs.node import Node
from multimix.pacs.patience import Backoff
from multimix.pacs.peer import Peer
from multimix.pacs.peers import Peers
from multimix.pacs.queue import Queue
from multimix.pacs.worker import Worker

log = logging.getLogger(__name__)


@contextmanager
def serving(config: PacsConfig, queue: Queue, answerer: Answerer, *, listen: bool) -> Iterator[Worker]:
    """Yield the worker; with `listen`, and a port in `config`, its node listens until the block ends."""
    max_bytes = config.max_megabytes * 1_000_000
    with ExitStack() as parts:
        archive = None
        if config.dicomweb.url:
            captures = "capture" in config.force
            archive = Archive(
                config.dicomweb, Credentials.from_environment(), max_bytes, config.max_seconds, captures
            )
            parts.callback(archive.close)
        reports = Reports()
        peers = [Peer(one, config.node.ae_title, reports) for one in config.peer.all()]
        sink = Peers(peers) if len(peers) > 1 else next(iter(peers), archive)
        assert sink is not None  # PacsConfig.check
        source = archive if config.node.port is None else None
        backoff = Backoff(config.retry, random.Random())
        listeners: list[Tell] = []
        node: Node | None = None

        def tell(event: Event) -> None:
            for listener in listeners:
                listener(event)

        worker = Worker(
            queue, answerer, sink, source, backoff, config.dicomweb.poll_seconds, config.results, tell=tell
        )
        if config.audit_log:
            audit = AuditLog(Path(config.audit_log), config.node.ae_title)
            parts.callback(audit.close)
            listeners.append(audit.tell)
            tell(Event("started", ""))
            parts.callback(_stopped, tell)
        if config.metrics.port is not None:
            metrics = Metrics(queue, lambda: node.associations if node else 0)
            listeners.append(metrics.tell)
            worker.alive = metrics.alive
            parts.callback(MetricsServer(config.metrics, metrics).close)
        if listen and config.node.port is not None:
            node = Node(config.node, queue, max_bytes, worker.wake.set, tell, reports)
            parts.callback(node.close)
            log.info("%s listens on %s:%d", config.node.ae_title, config.node.address, node.port)
        yield worker


def _stopped(tell: Tell) -> None:
    try:
        tell(Event("stopped", ""))
    except OSError as error:
        log.error("the end cannot be written to the audit log (%s)", error)
