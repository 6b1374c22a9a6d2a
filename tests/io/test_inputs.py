"""Folders, DICOMDIR and zip: every image found, nothing unpacked that should not be, no name that climbs."""

import zipfile
from contextlib import ExitStack
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from pydicom import config
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MediaStorageDirectoryStorage

import studies
from multimix.errors import ImageError
from multimix.io import inputs as module
from multimix.io.inputs import Source, find_sources
from multimix.io.readers import read_image


def _found(path: Path) -> list[str]:
    with ExitStack() as stack:
        return [source.name for source in find_sources(path, stack)]


def _directory(path: Path, *files: list[str] | str, kind: str = "IMAGE") -> Path:
    """A DICOMDIR whose records refer to `files`."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    data.file_meta.MediaStorageSOPInstanceUID = studies.uid("directory")
    patient = Dataset()
    patient.DirectoryRecordType = "PATIENT"
    data.DirectoryRecordSequence = [patient]
    for file in files:
        record = Dataset()
        with config.disable_value_validation():
            record.DirectoryRecordType, record.ReferencedFileID = kind, file
        data.DirectoryRecordSequence.append(record)
    data.save_as(path, enforce_file_format=True)
    return path


def test_a_folder_with_names_made_of_uids(tmp_path: Path) -> None:
    for name in ("1.2.840.10", "DX.1.2.9", "IM1", "b.dcm"):
        studies.save(studies.dx(), tmp_path / "s" / name)
    (tmp_path / "s" / "report.txt").write_text("no image")
    _directory(tmp_path / "s" / "DICOMDIR", "IM1")
    assert [Path(name).name for name in _found(tmp_path / "s")] == ["1.2.840.10", "DX.1.2.9", "IM1", "b.dcm"]


def test_dicomdir_names_its_images(tmp_path: Path) -> None:
    studies.save(studies.dx(), tmp_path / "DICOM" / "IM1")
    studies.save(studies.cr(), tmp_path / "dicom" / "im2")  # copied with a lower-case name
    studies.save(studies.cr(), tmp_path / "DICOM" / "IM9")  # not listed
    files = (["DICOM", "IM1"], ["DICOM", "IM2"], ["DICOM", "IM3"])
    found = _found(_directory(tmp_path / "DICOMDIR", *files))
    assert found == [str(tmp_path / name) for name in ("DICOM/IM1", "dicom/im2", "DICOM/IM3")]
    with pytest.raises(ImageError, match=r"IM3: no such file"):
        read_image(found[2])


@pytest.mark.parametrize("parts", [["..", "IM1"], ["A", "..", "IM1"], [".."]])
def test_dicomdir_stays_in_its_folder(tmp_path: Path, parts: list[str]) -> None:
    with pytest.raises(ImageError, match=r"DICOMDIR: refers to .*outside its folder; name the images"):
        _found(_directory(tmp_path / "DICOMDIR", parts))


def test_dicomdir_without_images_or_damaged(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="DICOMDIR: lists no image"):
        _found(_directory(tmp_path / "DICOMDIR", "SR1", kind="SR DOCUMENT"))
    (tmp_path / "DICOMDIR").write_bytes(b"nothing of the kind" * 20)
    with pytest.raises(ImageError, match="DICOMDIR: damaged or incomplete"):
        _found(tmp_path / "DICOMDIR")


def test_zip_reads_as_the_files_do(tmp_path: Path) -> None:
    files = studies.study(tmp_path / "in")
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for file in files:
            archive.write(file, f"study/{file.name}")
        for name in ("study/notes.txt", "study/.hidden.dcm", "__MACOSX/a.png", "study/DICOMDIR"):
            archive.writestr(name, b"x")
    with ExitStack() as stack:
        sources = find_sources(tmp_path / "x.zip", stack)
        assert [s.member for s in sources] == ["study/CR0001.dcm", "study/DX0001", "study/SC0001.dcm"]
        assert [str(s.place) for s in sources] == [s.member for s in sources]
        for source in sources:
            plain = read_image(tmp_path / "in" / Path(source.member).name)
            np.testing.assert_array_equal(source.read(1).pixels, plain.pixels)
            assert source.name == source.read(1).path == f"{tmp_path / 'x.zip'}/{source.member}"
            header = source.header()
            assert header is not None
            assert header.PatientID == "PH0000"


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("../../etc/a.png", "etc/a.png"),
        ("/abs/a.png", "abs/a.png"),
        ("C:\\Windows\\a.png", "C_/Windows/a.png"),
        ("a/../../b.png", "a/b.png"),
        ("./x//a.png", "x/a.png"),
        ("new\nline.png", "new_line.png"),
        ("x" * 300 + "/a.png", "x" * 80 + "/a.png"),
        ("/".join("d" * 40) + "/a.png", "d/d/d/d/d/d/d/a.png"),
    ],
)
def test_names_in_a_zip_stay_below(tmp_path: Path, name: str, place: str) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr(name, b"x")
    with ExitStack() as stack:
        (source,) = find_sources(tmp_path / "x.zip", stack)
        assert source.place == PurePosixPath(place)


def test_a_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_FILE_BYTES", 10_000_000)
    monkeypatch.setattr("multimix.io.limits.MAX_FILE_BYTES", 10_000_000)
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("large.dcm", bytes(128) + b"DICM" + bytes(20_000_000))
        archive.writestr("zeros.png", bytes(5_000_000))
    with ExitStack() as stack:
        large, zeros = find_sources(tmp_path / "x.zip", stack)
        with pytest.raises(ImageError, match=r"large\.dcm: holds 20 MB or more, expected at most 10 MB"):
            large.read(1)
        with pytest.raises(ImageError, match=r"zeros\.png: is not a PNG, JPEG"):
            zeros.read(1)
    monkeypatch.setattr(module, "MAX_ZIP_BYTES", 20_000_000)
    with pytest.raises(ImageError, match=r"x\.zip: holds 2 files of 0\.0 GB.*unpack it"):
        _found(tmp_path / "x.zip")


def test_zips_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "cut.zip").write_bytes(b"PK\3\4 and then nothing")
    with pytest.raises(ImageError, match=r"cut\.zip: damaged or incomplete"):
        _found(tmp_path / "cut.zip")
    with zipfile.ZipFile(tmp_path / "empty.zip", "w") as archive:
        archive.writestr("readme.txt", b"x")
    with pytest.raises(ImageError, match=r"empty\.zip: no image in this zip"):
        _found(tmp_path / "empty.zip")
    file = studies.save(studies.dx(), tmp_path / "a.dcm")
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.write(file, "a.dcm")
    data = bytearray((tmp_path / "x.zip").read_bytes())
    data[data.index(b"PK\1\2") + 8] |= 1  # the flag of an encrypted member, in the directory
    (tmp_path / "locked.zip").write_bytes(data)
    data = bytearray((tmp_path / "x.zip").read_bytes())
    data[len(data) // 2] ^= 0xFF
    (tmp_path / "flipped.zip").write_bytes(data)
    for name, problem in (("locked", "is encrypted"), ("flipped", "damaged or incomplete")):
        with ExitStack() as stack:
            (source,) = find_sources(tmp_path / f"{name}.zip", stack)
            with pytest.raises(ImageError, match=problem):
                source.read(1)


def test_other_files_are_sources_themselves(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.png", studies.save(studies.dx(), tmp_path / "a.dcm")):
        with ExitStack() as stack:
            assert find_sources(path, stack) == [Source(path, PurePosixPath(path.name))]
