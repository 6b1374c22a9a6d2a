"""Who the patient of an image is: what the user says, the DICOM header, a folder, a word in the file name; or unknown.

Nothing is guessed from bare numbers in file names: every folder of images has them.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from multimix.data.index import names
from multimix.data.manifest import unknown_patient
from multimix.errors import ImageError, UsageError
from multimix.io.endings import ending, stem
from multimix.io.limits import explained
from multimix.io.readers import DICOM_SUFFIXES, HEAD, is_dicom
from multimix.types import UNKNOWN

if TYPE_CHECKING:
    from multimix.data.index.places import Place

_IN_FILE = re.compile(
    r"(?:^|[_ -])((?:patients?|pat|persons?|subjects?|subj|sub|participants?|cases?)[_ -]?\d+(?:_virus|_bacteria)?)",
    re.IGNORECASE,
)
"""A file name that says so: sub-01_pa; of person1_virus_6 and person1_bacteria_2 each kind was counted from 1."""
_PREFIX = re.compile(r"(\d{4,})[_-]")
"""A number that may be the patient's; short ones count images."""
_ONE_FOR_ALL = 10
"""So many images of one PatientID and no other: it is a placeholder."""
_PLACEHOLDER = re.compile(
    r"(?:anon\w*|de-?identified|unknown|none|null|no_?name|patient|patient_?id|n/?a|test|x+|0*)",
    re.IGNORECASE,
)
"""A PatientID that says nothing: what programs write where they take the patient out."""


def compiled(patient_pattern: str | None) -> re.Pattern[str] | None:
    """The pattern that a user gave; UsageError where it cannot be used."""
    if patient_pattern is None:
        return None
    try:
        pattern = re.compile(patient_pattern)
    except re.error as error:
        raise UsageError(
            f"--patient-pattern {patient_pattern!r} is not a regular expression ({error}); correct it"
        ) from error
    if pattern.groups != 1:
        raise UsageError(
            f"--patient-pattern {patient_pattern!r} has {pattern.groups} groups, expected one "
            "around the patient, as in '(person\\d+)_' or 'ward/(\\w+)/'"
        )
    return pattern


def by_pattern(pattern: re.Pattern[str], name: str) -> str:
    """The patient that `pattern` finds in the file name, or else in the whole path `name` ('/'-separated).

    Raises UsageError where it finds none.
    """
    file = name.rpartition("/")[2]
    found = ("/" not in pattern.pattern and pattern.search(file)) or pattern.search(name)
    if not found or not found[1]:
        raise UsageError(
            f"{name}: --patient-pattern {pattern.pattern!r} finds no patient in its name, nor in the path below "
            "FOLDER; correct the pattern"
        )
    return str(found[1])


def who_they_are(
    root: Path, images: Sequence[tuple["Place", str]], pattern: re.Pattern[str] | None, per_image: bool
) -> tuple[dict[Path, str], list[str]]:
    """The patient of each image, given with the name of its data set, and a note per data set on how they were told.

    UsageError where `pattern` finds none in a path.
    """
    paths = {place.file: place.file.relative_to(root).as_posix() for place, _ in images}
    if pattern is not None:
        return {file: by_pattern(pattern, path) for file, path in paths.items()}, []
    origins = _origins(paths)
    if per_image:
        return {
            file: unknown_patient(origin, root).removeprefix(UNKNOWN) for file, origin in origins.items()
        }, _copies(origins)
    who: dict[Path, str] = {}
    notes = []
    for source in sorted({source for _, source in images}):
        members = [place for place, name in images if name == source]
        found, how = _told(members)
        who |= found
        without = [place.file for place in members if place.file not in found]
        who |= {file: unknown_patient(origins[file], root) for file in without}
        notes += _copies({file: origins[file] for file in without})
        if how and found:
            notes.append(f"the patients of {source} are those of {how}")
        if without:
            notes.append(_not_known(source, without, len(members)))
    return who, notes


def _origins(files: Iterable[Path]) -> dict[Path, Path]:
    """Each file -> that of which it is a copy by its name, or itself; the latter need not be there."""
    stems: dict[Path, set[str]] = defaultdict(set)
    for file in files:
        stems[file.parent].add(stem(file))
    return {
        file: file.with_name(names.origin(stem(file), stems[file.parent]) + ending(file)) for file in files
    }


def _copies(origins: Mapping[Path, Path]) -> list[str]:
    """A note where files are copies of others: drawn apart, they would lie in two splits."""
    copies = [file for file, origin in origins.items() if origin != file]
    if not copies:
        return []
    return [
        f"{len(copies)} images are copies by their names, such as {copies[0].name}: all copies of one image are kept "
        "in one split"
    ]


def _told(members: Sequence["Place"]) -> tuple[dict[Path, str], str]:
    """The patients that the images of one data set tell, and by what; images that tell none are left out."""
    header = {place.file: patient for place in members if (patient := header_patient(place.file))}
    if len(header) >= _ONE_FOR_ALL and len(set(header.values())) == 1:
        header = {}  # what anonymising wrote into all of them
    if header:
        return header, "the DICOM headers"
    folders = {place.file: place.patient for place in members if place.patient}
    if folders:
        classes: dict[str, set[str]] = defaultdict(set)
        for place in members:
            classes[place.patient].add(place.inner)
        # ILL/001 and WELL/001: bare numbers begin anew in every class.
        again = {who for who in classes if who.isdigit() and len(classes[who]) > 1}
        for place in members:
            if place.patient in again:
                folders[place.file] = f"{place.inner}/{place.patient}"
        return folders, f"folders such as {next(iter(folders.values()))!r}"
    files = {place.file: found[1] for place in members if (found := _IN_FILE.search(stem(place.file)))}
    return files, f"file names, such as {next(iter(files.values()))!r}" if files else ""


def _not_known(source: str, files: Sequence[Path], images: int) -> str:
    some = "the images" if len(files) == images else f"{len(files)} of {images} images"
    numbers = Counter(found[1] for file in files if (found := _PREFIX.match(stem(file))))
    hint = ""
    if numbers and numbers.total() > len(files) / 2 and max(numbers.values()) > 1:
        hint = (
            f" (names such as {files[0].stem!r} may begin with the patient: --patient-pattern '^(\\d+)[_-]')"
        )
    return (
        f"the patients of {some} of {source} are not known: each image counts as a patient of its own, so one patient "
        f"may lie in two splits, and scores get no interval. Say who they are by --patient-pattern{hint}, or, where "
        "every image is of another patient, by --patient-per-image"
    )


def header_patient(file: Path) -> str:
    """PatientID of a DICOM file, '' where it is none, cannot be read, or has one that says nothing."""
    try:
        with explained(file), file.open("rb") as stream:
            if file.suffix.lower() not in DICOM_SUFFIXES and not is_dicom(stream.read(HEAD)):
                return ""
            import pydicom

            stream.seek(0)
            header = pydicom.dcmread(stream, stop_before_pixels=True, specific_tags=["PatientID"])
            text = str(header.get("PatientID") or "").strip()
    except ImageError:  # reading it as an image says what is wrong
        return ""
    return "" if _PLACEHOLDER.fullmatch(text) else text
