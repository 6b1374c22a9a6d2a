"""Which column of a table is which, as people name them: in any case, with any sign between words.

A column that looks as if it held the patient and is not read would hide a leak, so it is an error.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from multimix.errors import ManifestError

LUNGS = "lungs"
"""Structure of the plain `mask` column."""
FINDING = "finding"
"""Structure of the column mask:finding: where the disease is, as masks or filled boxes. Explanations are tested against
it; it is learned only where it is asked for by name."""

SPLITS = ("train", "val", "test")
SPLIT_WORDS = {
    **dict.fromkeys(("train", "training", "trn", "trainset"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "validate", "valset", "dev"), "val"),
    **dict.fromkeys(("test", "testing", "tst", "testset", "holdout"), "test"),
}
"""How people write a split, in lower case and without signs, to how we do."""

_NAMES: Mapping[str, Sequence[str]] = {
    "image": ("image", "images", "path", "paths", "imagepath", "imagefile"),
    "mask": ("mask", "masks", "maskpath", "maskfile"),
    "label": ("label", "labels"),
    "split": ("split", "splits", "subset", "partition"),
    "source": ("source", "sources"),
}
"""Ours to what people write, the first that there is counts."""
_PATIENTS = re.compile(
    r"(patient|subject|participant|person)s?(id|no|nr|number|identifier)?|pat(ient)?id|pid|ptid|mrn|medicalrecordnumber"
)
_CASES = ("case", "caseid", "casenumber")
"""A patient where nothing else is: a case may be one of several of a patient."""
_NOT_WHO = re.compile(
    r"age|sex|gender|birth|dob|weight|height|size|position|orientation|race|ethnic|count|history|class|type|group|state"
)
"""Of columns that say something about a patient, not who it is."""


def key(name: str) -> str:
    """A column's name in lower case, without the signs between its words."""
    return re.sub(r"[\W_]+", "", name.lower())


def split_of(text: str) -> str | None:
    """'train', 'val' or 'test' for a split as people write it: 'Training', 'valid', 'TEST'; None for another word."""
    return SPLIT_WORDS.get(key(text))


def find_columns(
    file: Path, header: Sequence[str], told: Mapping[str, str], values: Callable[[str], Collection[str]]
) -> dict[str, str]:
    """Our column -> the file's name of it, masks of structures included.

    `told` are columns that the user names (ours -> theirs); `values` gives the different cells of a column. Raises
    ManifestError where there is no image column, two columns mean the same, or one that looks like the patient would
    not be read.
    """
    for ours, theirs in told.items():
        if theirs not in header:
            raise ManifestError(
                f"{file}: --{ours}-column {theirs!r} is not in the table, which has {_listed(header)}; correct it"
            )
    columns = dict(told)
    free = [name for name in header if name not in told.values()]
    for ours, known in _NAMES.items():
        found = [name for spelled in known for name in free if key(name) == spelled and ":" not in name]
        if ours == "split":  # other columns are called so too: the cells decide
            found = [n for n in found if n == "split" or all(split_of(v) for v in values(n) if v)]
        if ours not in told and found:
            columns[ours] = found[0]
            if len(found) > 1 and ours != "split":
                raise ManifestError(
                    f"{file}: columns {found[0]!r} and {found[1]!r} mean the same; remove one"
                )
    if "image" not in columns:
        raise ManifestError(
            f"{file}: no image column; expected 'image' (or 'path'), found {_listed(header)}; rename the column that "
            "holds the image files, or name it: `multimix data index TABLE --image-column NAME`"
        )
    columns |= _masks(file, [name for name in free if name not in columns.values()])
    if "mask" in columns and f"mask:{LUNGS}" in columns:
        raise ManifestError(f"{file}: columns 'mask' and 'mask:{LUNGS}' mean the same; remove one")
    if "patient" not in told and (who := _patient(file, free)):
        columns["patient"] = who
    return columns


def _masks(file: Path, header: Sequence[str]) -> dict[str, str]:
    """Columns 'mask:heart', also written 'Masks: heart'."""
    found: dict[str, str] = {}
    for name in header:
        column, colon, structure = name.partition(":")
        if not colon or key(column) not in ("mask", "masks"):
            continue
        structure = structure.strip()
        if not structure or "/" in structure:  # structures become parts of file names
            raise ManifestError(
                f"{file}: column {name!r}: expected the name of a structure without '/' after 'mask:'; rename it"
            )
        if f"mask:{structure}" in found:
            raise ManifestError(
                f"{file}: columns {found[f'mask:{structure}']!r} and {name!r} mean the same; remove one"
            )
        found[f"mask:{structure}"] = name
    return found


def _patient(file: Path, header: Sequence[str]) -> str:
    """The column that holds the patient, '' where none looks like it."""
    sure = [name for name in header if _PATIENTS.fullmatch(key(name))]
    exact = [name for spelled in ("patient", "patientid") for name in sure if key(name) == spelled]
    found = exact[:1] or sure or [name for name in header if key(name) in _CASES]
    if len(found) > 1:
        raise ManifestError(
            f"{file}: columns {_listed(found)} all look like the patient; name the one that is: `multimix data index "
            f"TABLE --patient-column {found[0]!r}`"
        )
    if not found:
        found = [name for name in header if re.search("patient|subject|person", key(name))]
        if found := [name for name in found if not _NOT_WHO.search(key(name))]:
            raise ManifestError(
                f"{file}: column {found[0]!r} looks like the patient and would not be read, so that leaks would not be "
                f"found; name it: `multimix data index TABLE --patient-column {found[0]!r}`, or rename it if it is not"
            )
    return found[0] if found else ""


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names))
