"""An archive and a worker that are killed again and again; a process of its own, since it forks.

    python killed_worker.py MODEL FOLDER IMAGES KILLS SEED

Stores IMAGES small radiographs in an Orthanc of its own, lets `multimix pacs run` answer them, and kills each of
the two KILLS times (SIGKILL) at moments that SEED draws. Prints what the archive holds in the end, as JSON.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pydicom
import torch
from orthanc import Orthanc

import multimix.pacs.service  # noqa: F401  imported once, before forking
import studies
from multimix.cli.pacs import pacs
from multimix.pacs.answerer import Answerer
from multimix.pacs.outcomes import Image
from multimix.pacs.queue import Queue
from multimix.pacs.rows import QueueView

PER_STUDY = 8
LOOKS = 60_000
"""How often one looks for the next image to be done before it is given up."""


def start(arguments: list[str], log: Path) -> int:
    """Fork a child that runs the command line; returns its number."""
    child = os.fork()
    if child == 0:
        code = 70
        try:
            file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(file, 1)
            os.dup2(file, 2)
            pacs.main(arguments, standalone_mode=False)
            code = 0
        finally:
            os._exit(code)
    return child


def finish(child: int, number: signal.Signals) -> int:
    """Send a signal to the child and wait; returns its exit status, negative for a signal."""
    os.kill(child, number)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def wait_until_it_listens(child: int) -> None:
    """Until the child has its handler of SIGTERM: one that was killed with nothing left to do has only just begun."""
    status = Path(f"/proc/{child}/status")
    for _ in range(LOOKS):
        caught = next(line for line in status.read_text().splitlines() if line.startswith("SigCgt"))
        if int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1:
            return
        time.sleep(0.01)


def radiographs(folder: Path, count: int) -> list[str]:
    """Write so many small radiographs; returns their SOPInstanceUIDs."""
    rng, uids = np.random.default_rng(0), []
    for number in range(count):
        pixels = rng.integers(0, 4096, (36, 32), dtype=np.uint16)
        data = studies.dx(pixels, seed=number // PER_STUDY, InstanceNumber=number + 1)
        studies.save(data, folder / f"{number}.dcm")
        uids.append(str(data.SOPInstanceUID))
    return uids


def warm_up(model: Path, folder: Path, image: Path) -> None:
    """Answer one image, so that what is loaded for the first answer is loaded before forking."""
    data = pydicom.dcmread(image)
    queue = Queue(folder)
    queue.receive(
        Image(data.SOPInstanceUID, data.StudyInstanceUID, data.SeriesInstanceUID), image.read_bytes()
    )
    Answerer.load(model, "cpu").answer(queue, queue.rows("received"))
    assert queue.counts()["answered"] == 1
    queue.close()


def sent(queue: Path) -> int:
    """Images that are done."""
    if not (queue / "queue.db").is_file():
        return 0
    view = QueueView(queue)
    try:
        return view.counts()["sent"]
    finally:
        view.close()


def main(model: Path, folder: Path, images: int, kills: int, seed: int) -> None:
    """The whole story."""
    torch.set_num_threads(1)
    rng = random.Random(seed)
    moments = sorted(rng.sample(range(2, images - 2), 2 * kills))
    victims = rng.sample(["archive", "worker"] * kills, 2 * kills)
    archive, queue, log = Orthanc(folder / "orthanc", verbose=True), folder / "queue", folder / "worker.txt"
    (folder / "pacs.yaml").write_text(
        f"queue: {queue}\ndicomweb: {{url: '{archive.dicomweb}', poll_seconds: 0.5}}\n"
        "retry: {first_seconds: 0.05, cap_seconds: 1}\n"
    )
    arguments = ["run", str(model), "--config", str(folder / "pacs.yaml")]
    sources = radiographs(folder / "in", images)
    warm_up(model, folder / "warm", folder / "in" / "0.dcm")
    archive.start()
    worker = 0
    try:
        archive.store(folder / "in")
        worker = start(arguments, log)
        for moment, victim in [*zip(moments, victims, strict=True), (images, "nobody")]:
            looks = 0
            while sent(queue) < moment:
                time.sleep(0.01)
                looks += 1
                if looks > LOOKS or os.waitpid(worker, os.WNOHANG) != (0, 0):
                    sys.exit(f"stuck at {sent(queue)} of {images}:\n{log.read_text()[-3000:]}")
            time.sleep(rng.uniform(0, 0.2))
            if victim == "archive":
                archive.kill()
                time.sleep(rng.uniform(0.1, 0.6))
                archive.start()
            elif victim == "worker":
                finish(worker, signal.SIGKILL)
                worker = start(arguments, log)
        wait_until_it_listens(worker)
        status, worker = finish(worker, signal.SIGTERM), 0
        print(json.dumps({"sources": sources, "status": status} | found(archive)))
    finally:
        if worker:
            finish(worker, signal.SIGKILL)
        archive.kill()


def found(archive: Orthanc) -> dict[str, object]:
    """What the archive holds: SOP class and source of each instance, and how often one was stored anew or again."""
    held = []
    for name in archive.get("/instances"):  # type: ignore[attr-defined]
        tags = archive.get(f"/instances/{name}/simplified-tags")
        assert isinstance(tags, dict)
        held.append({"uid": tags["SOPInstanceUID"], "kind": tags["SOPClassUID"], "source": source(tags)})
    log = (archive.folder / "log.txt").read_text(errors="replace")
    return {"held": held, "again": log.lower().count("already stored")}


def source(tags: dict[str, object]) -> str:
    """The first instance that an object refers to; empty where it refers to none."""
    for name, value in tags.items():
        if name == "ReferencedSOPInstanceUID":
            return str(value)
        if isinstance(value, list) and "Segment" not in name:
            for item in value:
                if isinstance(item, dict) and (uid := source(item)):
                    return uid
    return ""


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:]))
