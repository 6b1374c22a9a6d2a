"""Must show: nothing is lost and nothing is sent twice, whatever is killed and whenever."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

from orthanc import require, tool

IMAGES, KILLS, SEED = 200, 5, 0


def test_archive_and_worker_are_killed(model: Path, tmp_path: Path):
    require()
    tool("storescu")
    here = Path(__file__).parent
    script = [sys.executable, str(here / "killed_worker.py"), str(model), str(tmp_path / "story")]
    done = subprocess.run(
        [*script, *map(str, (IMAGES, KILLS, SEED))],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(here.parent), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    story = json.loads(done.stdout)
    sources, held = set(story["sources"]), story["held"]
    assert story["status"] == 0  # SIGTERM is a clean end
    assert len(sources) == IMAGES
    assert len({item["uid"] for item in held}) == len(held)
    results = Counter((item["kind"], item["source"]) for item in held if item["uid"] not in sources)
    segmentation, report, overlay = (f"1.2.840.10008.5.1.4.1.1.{end}" for end in ("66.4", "88.34", "7"))
    assert results == Counter(
        (kind, source) for kind in (segmentation, report, overlay) for source in sources
    )
    assert story["again"] == 0  # the archive was never sent what it held already
    queue = tmp_path / "story" / "queue"
    assert not [
        path for kind in ("incoming", "results") for path in (queue / kind).rglob("*") if path.is_file()
    ]
