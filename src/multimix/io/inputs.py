"""Inputs that hold several images: folders, DICOMDIR, zip. Every image in them becomes one `Source`."""

import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from multimix.errors import ImageError
from multimix.io.endings import ending
from multimix.io.limits import MAX_FILE_BYTES, check_bytes, explained
from multimix.io.planes import is_plane
from multimix.io.raster import is_raster
from multimix.io.readers import (
    HEAD,
    IMAGE_SUFFIXES,
    find_images,
    is_dicom,
    natural_key,
    read_image,
    read_image_bytes,
)
from multimix.types import Radiograph

if TYPE_CHECKING:
    from pydicom.dataset import FileDataset

MAX_MEMBERS = 20_000
MAX_ZIP_BYTES = 2**34
"""What a zip may hold, unpacked; each member may hold MAX_FILE_BYTES and is unpacked only when it is read."""


@dataclass(frozen=True)
class Source:
    """One image: a file, or a member of a zip."""

    path: Path
    """The file, or the zip."""
    place: PurePosixPath = field(compare=False)
    """Where it lies within the input that the user named: relative, never upwards."""
    member: str = ""
    """Name in the zip."""
    archive: zipfile.ZipFile | None = field(default=None, compare=False)

    @property
    def name(self) -> str:
        """What the user calls it."""
        return f"{self.path}/{self.member}" if self.member else str(self.path)

    def read(self, channels: int, force: bool = False) -> Radiograph:
        """The radiograph, as `read_image` gives it. Raises ImageError."""
        if self.archive is None:
            return read_image(self.path, channels, force)
        return read_image_bytes(self._unpacked(self.archive), self.name, channels, force)

    def header(self) -> "FileDataset | None":
        """Everything before the pixels where it is DICOM, else None. Raises ImageError."""
        from multimix.io.dicom.read import read_header

        if self.archive is not None:
            data = self._unpacked(self.archive)
            return read_header(BytesIO(data), self.name) if is_dicom(data[:HEAD]) else None
        with explained(self.name), self.path.open("rb") as stream:
            head = stream.read(HEAD)
            stream.seek(0)
            return read_header(stream, self.name) if is_dicom(head) else None

    def _unpacked(self, archive: zipfile.ZipFile) -> bytes:
        with explained(self.name):
            info = archive.getinfo(self.member)
            check_bytes(self.name, info.file_size)
            if info.flag_bits & 1:
                raise ImageError(f"{self.name}: is encrypted; unpack the zip with its password first")
            with archive.open(info) as stream:
                head = stream.read(HEAD)
                # Told from the beginning, so that a bomb of zeros called x.png is not unpacked.
                known = is_plane(self.member) or self.member.lower().endswith(".img")
                if not (is_dicom(head) or is_raster(head) or known):
                    raise ImageError(
                        f"{self.name}: is not a PNG, JPEG, TIFF, GIF, BMP or DICOM file (it starts with "
                        f"{head[:8]!r}); leave it out"
                    )
                return head + stream.read(MAX_FILE_BYTES)


def find_sources(path: Path, stack: ExitStack) -> list[Source]:
    """The images of one input: a file, a folder, a DICOMDIR (as it lists them), or a zip, which `stack` closes.

    A file of any other kind, or a missing one, is a Source too: reading it says what is wrong. Raises
    ImageError where a folder, DICOMDIR or zip holds no image or cannot be read.
    """
    if path.is_dir():
        return [
            Source(file, PurePosixPath(file.relative_to(path).as_posix())) for file in find_images([path])
        ]
    if path.is_file():
        if path.name.upper() == "DICOMDIR":
            return _listed(path)
        if path.suffix.lower() == ".zip" or _starts(path, b"PK\3\4"):
            return _packed(path, stack)
    return [Source(path, PurePosixPath(path.name))]


def _starts(path: Path, magic: bytes) -> bool:
    try:
        with path.open("rb") as stream:
            return stream.read(len(magic)) == magic
    except OSError:
        return False


def _listed(path: Path) -> list[Source]:
    """Images that a DICOMDIR refers to (PS3.3 F.3), those of other kinds left out."""
    from multimix.io.dicom.read import require_pydicom

    pydicom = require_pydicom(path)
    found: dict[Source, None] = {}
    with explained(path), path.open("rb") as stream:
        check_bytes(path, path.stat().st_size)
        for record in pydicom.dcmread(stream).get("DirectoryRecordSequence") or []:
            parts = record.get("ReferencedFileID")
            if record.get("DirectoryRecordType") != "IMAGE" or not parts:
                continue
            parts = [parts] if isinstance(parts, str) else [str(part) for part in parts]
            if any(part in ("", ".", "..") or "/" in part or "\\" in part for part in parts):
                raise ImageError(
                    f"{path}: refers to {'/'.join(parts)!r}, outside its folder; name the images instead"
                )
            file = path.parent.joinpath(*parts)
            if not file.exists():  # media are often copied with names in lower case
                lower = path.parent.joinpath(*(part.lower() for part in parts))
                file = lower if lower.exists() else file
            found[Source(file, PurePosixPath(*parts))] = None
    if not found:
        raise ImageError(f"{path}: lists no image; name the image files or their folder")
    return list(found)


def _packed(path: Path, stack: ExitStack) -> list[Source]:
    with explained(path):
        archive = stack.enter_context(zipfile.ZipFile(path))
        members = [info for info in archive.infolist() if not info.is_dir()]
        total = sum(info.file_size for info in members)
        if len(members) > MAX_MEMBERS or total > MAX_ZIP_BYTES:
            raise ImageError(
                f"{path}: holds {len(members)} files of {total / 1e9:.1f} GB, expected at most {MAX_MEMBERS} and "
                f"{MAX_ZIP_BYTES / 1e9:.0f} GB; unpack it and name its folders"
            )
        names = sorted(_image_members(archive, members), key=natural_key)
    if not names:
        raise ImageError(f"{path}: no image in this zip; expected {', '.join(sorted(IMAGE_SUFFIXES))}")
    return [Source(path, _safe(name), name, archive) for name in names]


def _image_members(archive: zipfile.ZipFile, members: list[zipfile.ZipInfo]) -> Iterator[str]:
    """Members that count as images by the rules of `find_images`."""
    for info in members:
        place = PurePosixPath(info.filename)
        hidden = any(part.startswith(".") and part not in (".", "..") for part in place.parts)
        if hidden or "__MACOSX" in place.parts or place.name.upper() == "DICOMDIR":
            continue
        if ending(place) in IMAGE_SUFFIXES or _sniffs_dicom(archive, info):
            yield info.filename


def _sniffs_dicom(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bool:
    try:
        with archive.open(info) as stream:
            return is_dicom(stream.read(HEAD))
    except (
        Exception
    ):  # encrypted, damaged or packed in a way that Python does not know: not known to be an image
        return False


def _safe(name: str) -> PurePosixPath:
    """A relative path below any folder: no root, drive or step upwards, no part that is too long."""
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    short = ["".join(c if c.isprintable() and c != ":" else "_" for c in part)[:80] for part in parts]
    return PurePosixPath(*short[-8:] or ["image"])
