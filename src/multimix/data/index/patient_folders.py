"""Which folders are patients, by their names and those of their neighbours."""

import re
from collections.abc import Collection, Mapping

_WORDS = r"(?:patients?|pat|pt|persons?|subjects?|subj|sub|participants?|volunteers?|cases?|mrn|pid)"
_NAMED = re.compile(rf"{_WORDS}[ _.-]*(?:id|no|nr)?[ _.-]*[a-z]?\d[\w.-]*|sub-\w+", re.IGNORECASE)
"""A folder that says that it is a patient: patient00012, sub-01, Case 7."""
_NUMBERED = re.compile(
    r"p[ _-]?\d+|\d{3,}|(?=.*\d)[0-9a-f]{8,}|[0-9a-f-]{36}|[a-z][\w .-]*\d{3,}", re.IGNORECASE
)
"""A folder that may be a patient if its neighbours are named alike."""
_NO_PATIENT = re.compile(
    r"(?:class|grade|type|label|category|cat|stage|group|level|score|kl|birads|bi-rads|acr)[ _-]*\d+|(?:19|20)\d\d",
    re.IGNORECASE,
)
_FEWEST, _SHARE, _MOST_IMAGES = 3, 0.8, 50
"""Neighbours that are named alike before they are patients; their share; their images each, more are of a class."""


def patient_folders(children: Mapping[str, int], cousins: Mapping[str, int]) -> set[str]:
    """Which of the folders of one parent are patients: name -> images below; `cousins` are all of that depth."""
    found = {name for name in children if _NAMED.fullmatch(name)}
    for pool in (children, cousins):
        numbered = [name for name in pool if _NUMBERED.fullmatch(name) and not _NO_PATIENT.fullmatch(name)]
        if len(numbered) >= max(_FEWEST, _SHARE * len(pool)):
            images = sum(pool[name] for name in numbered)
            if images <= _MOST_IMAGES * len(numbered):
                found |= set(numbered) & set(children)
    return found


def bucket(name: str, children: Collection[str]) -> bool:
    """Whether a folder only sorts the patients in it by how they begin: p10/p10000032."""
    return bool(children) and all(child.startswith(name) and child != name for child in children)
