"""What would corrupt a result, found before training: every row is read, every file decoded once.

error    row that cannot be read, missing or unreadable file, mask of another size than its image, patient or pixels in
         two splits, classes that look like patients, nothing to learn
warning  patients that are not known, or written in several ways; mask that is empty, full, of the background or an
         outline; image of one grey level; images that are negatives of the others; nearly one picture in two splits;
         source of dark images; identical pixels twice in one split; a split or class that lacks; class of one image,
         of nearly one name, or of a name that means no class; masks of some structures only
note     images, patients, classes and masks of each source and split; images that two sources share; images in
         colour; columns that nothing is read from
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from multimix.data.check.files import look
from multimix.data.check.findings import Finding
from multimix.data.check.pictures import of_pictures
from multimix.data.check.rows import of_rows
from multimix.data.manifest import read_rows, unread_columns
from multimix.errors import ManifestError
from multimix.types import Record

__all__ = ["Finding", "check_manifest"]


def check_manifest(
    path: Path | str,
    progress: Callable[[int, int], None] | None = None,
    threads: int | None = None,
    *,
    confirm_classes: bool = False,
) -> list[Finding]:
    """Check a manifest and all its files: errors first, then warnings, then notes.

    `progress` is called with (images done, images in all). `confirm_classes`: classes of one patient or image each are
    meant so. Raises ManifestError where the table itself cannot be read; everything else is a finding.
    """
    findings: list[Finding] = []
    records: list[Record] = []
    for row in read_rows(path):
        if isinstance(row, ManifestError):
            where, _, message = str(row).partition(": ")
            findings.append(Finding("error", where, message))
        else:
            records.append(row)
    looks = []
    with ThreadPoolExecutor(threads or min(os.cpu_count() or 1, 8)) as pool:
        for done, one in enumerate(pool.map(look, records), start=1):
            looks.append(one)
            if progress is not None:
                progress(done, len(records))
    findings += [finding for one in looks for finding in one.findings]
    findings += of_pictures(looks)
    findings += of_rows(records, confirm_classes)
    if unread := unread_columns(path):
        message = f"columns that nothing is read from: {', '.join(unread)}; rename those that are meant to be"
        findings.append(Finding("note", str(path), message))
    return sorted(findings, key=lambda finding: ("error", "warning", "note").index(finding.level))
