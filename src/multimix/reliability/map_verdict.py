"""What tests of a model's heat map say, and in what words; stored in its weights file.

The tests themselves are in `multimix.evaluation.explain`; how they are judged, in its `verdict`.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

TESTS = {
    "localises": "does not localise",
    "faithful": "is not faithful: what it marks decides the answer no more than what any other map marks",
    "sensitive": "does not depend on what the network has learned",
    "repeatable": "changes under noise that nobody sees",
}
"""Test that a map has to pass to be shown -> what is said of one that fails it."""
BRIDGE = "bridge"
"""The test whether the masks depend on the map; one that fails it may be a true map all the same."""
UNMOVED = 0.99
"""Dice of masks from which they are called the same in that test."""


@dataclass(frozen=True)
class MapVerdict:
    """Which tests the heat map failed."""

    images: int
    """That it was tested on."""
    sample: str
    """Which these are, as in 'validation images of kermany_v7'."""
    failed: tuple[str, ...] = ()
    """Of TESTS and BRIDGE."""
    untested: tuple[str, ...] = ()
    """Of TESTS and BRIDGE: too few images, or no masks, to say it."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """The main figures, named as in the scores of `multimix explain`."""

    @property
    def passed(self) -> bool:
        """Whether the map may be shown without more ado."""
        return not any(test in self.failed or test in self.untested for test in TESTS)

    def sentence(self) -> str:
        """The verdict in plain words."""
        on = f"on {self.images} {self.sample}"
        failed = [said for test, said in TESTS.items() if test in self.failed]
        if failed:
            return f"this model's heat map {'; it '.join(failed)} (tested {on}{self._where()})"
        if not self.passed:
            return f"this model's heat map could not be tested for all that matters {on}"
        return f"this model's heat map passed its tests {on}{self._where()}"

    def _where(self) -> str:
        """Where the brightest point lies; of the disease where that is known."""
        for region, said in (("finding", "the disease"), ("structures", "the segmented structures")):
            hit, area = self.figures.get(f"pointing_{region}_own"), self.figures.get(f"area_{region}")
            if hit is not None and area is not None:
                often, chance = (f"{share:.0%}".replace("%", " %") for share in (hit, area))
                return (
                    f": its brightest point lies in {said} in {often} of them, by chance it would in {chance}"
                )
        return ""

    def pack(self) -> dict[str, Any]:
        """For a JSON header."""
        return asdict(self)

    @classmethod
    def unpack(cls, stored: Mapping[str, Any]) -> "MapVerdict":
        """The inverse of `pack`; ValueError, TypeError or LookupError where something is missing or impossible."""
        made = cls(
            images=int(stored["images"]),
            sample=str(stored["sample"]),
            failed=tuple(map(str, stored["failed"])),
            untested=tuple(map(str, stored["untested"])),
            figures={str(name): float(value) for name, value in dict(stored["figures"]).items()},
        )
        if made.images < 1 or not all(map(math.isfinite, made.figures.values())):
            raise ValueError(f"{made.images} images, figures {made.figures}")
        if unknown := [test for test in (*made.failed, *made.untested) if test not in (*TESTS, BRIDGE)]:
            raise ValueError(f"test {unknown[0]!r}")
        return made


def why_withheld(verdict: MapVerdict | None) -> str:
    """Why the heat map of a model is not shown unless it is asked for; empty where it passed its tests."""
    if verdict is None:
        return "this model's heat map has not been tested (`multimix explain`)"
    return "" if verdict.passed else verdict.sentence()
