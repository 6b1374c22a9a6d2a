"""Puts the parts together as a configuration says, and takes them apart again."""

import logging
import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from multimix.pacs.answerer import Answerer
from multimix.pacs.archive import Archive
from multimix.pacs.config import Credentials, PacsConfig
from multimix.pacs.node import Node
from multimix.pacs.patience import Backoff
from multimix.pacs.peer import Peer
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
            archive = Archive(
                config.dicomweb, Credentials.from_environment(), max_bytes, config.max_seconds, answerer.force
            )
            parts.callback(archive.close)
        sink = Peer(config.peer, config.node.ae_title) if config.peer.host else archive
        assert sink is not None  # PacsConfig.check
        source = archive if config.node.port is None else None
        backoff = Backoff(config.retry, random.Random())
        worker = Worker(queue, answerer, sink, source, backoff, config.dicomweb.poll_seconds)
        if listen and config.node.port is not None:
            node = Node(config.node, queue, max_bytes, worker.wake.set)
            parts.callback(node.close)
            log.info("%s listens on %s:%d", config.node.ae_title, config.node.address, node.port)
        yield worker
