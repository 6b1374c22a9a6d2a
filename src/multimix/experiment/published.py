"""What others have published: the paper's scores, and how well a second human observer does.

The 108 rows are those of the supplement's Tables 3 and 4 (Haque, Imran, Wang, Terzopoulos, ISBI 2021,
arXiv:2010.14731), kept in `published.csv` as printed; the AUCs are those of its ROC figures. Some rows
cannot be true; they are kept and marked.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

DOMAINS = ("in-domain", "cross-domain")

SOURCES = {"in-domain": ("kermany", "jsrt"), "cross-domain": ("nih", "montgomery")}
"""Domain -> our names of the paper's class source and mask source."""

ALWAYS_NORMAL = 2754 / 4185
"""Accuracy of answering 'normal' for every image of the paper's cross-domain class set."""

OBSERVER_JACCARD = 0.946
"""Mean Jaccard of JSRT's second human observer against the first, both lungs [van Ginneken, Stegmann and Loog,
Medical Image Analysis 10 (2006) 19-40, doi:10.1016/j.media.2005.02.002].

Quoted, not computed: the second observer's outlines are not read here. The paper's abstract, which is public, has the
247 films, the two observers and no difference between the best method and the second one; the figure stands in a table
that is not. It agrees with Novikov et al. (arXiv:1701.08816), who report 0.950 as better than this observer."""

OBSERVER_DICE = 2 * OBSERVER_JACCARD / (1 + OBSERVER_JACCARD)
"""The Dice that belongs to `OBSERVER_JACCARD`, D = 2 J / (1 + J): 0.972; of a mean J, which is nearly the mean Dice."""

_AUC = {
    ("Enc", "100", ""): 0.590,
    ("Enc", "1000", ""): 0.737,
    ("Enc", "full", ""): 0.663,
    ("EncSSL", "100", ""): 0.690,
    ("EncSSL", "1000", ""): 0.765,
    ("EncSSL", "full", ""): 0.718,
    ("MultiMix", "100", "10"): 0.806,
    ("MultiMix", "100", "50"): 0.831,
    ("MultiMix", "100", "full"): 0.796,
}
_TEXT = ("domain", "model", "class_labels", "mask_labels")


@dataclass(frozen=True)
class PublishedRow:
    """One row of the supplement's Tables 3 and 4."""

    domain: str
    """'in-domain' or 'cross-domain'."""
    method: str
    """As printed, 'UMTL-S-SSL' for instance."""
    class_labels: str
    """'100', '1000' or 'full'; empty where the method learns no classes."""
    mask_labels: str
    """'10', '50' or 'full'; empty where the method learns no masks."""
    scores: Mapping[str, float]
    """accuracy, auc (in-domain, where a figure gives it), f1_normal, f1_pneumonia, dice, jaccard, ssim, hausdorff,
    precision, recall; those of a head that the method lacks are absent."""

    @property
    def impossible(self) -> bool:
        """Whether the mean Jaccard exceeds the mean Dice, though J = D / (2 - D) <= D for every image."""
        return self.scores.get("jaccard", 0.0) > self.scores.get("dice", 1.0)

    @property
    def below_trivial(self) -> bool:
        """Whether always answering 'normal' would have scored more; known for the cross-domain set only."""
        return self.domain == "cross-domain" and self.scores.get("accuracy", 1.0) < ALWAYS_NORMAL


@cache
def rows() -> tuple[PublishedRow, ...]:
    """All 108 rows in the order of the tables."""
    text = (files("multimix.experiment") / "published.csv").read_text("utf-8")
    return tuple(_row(line) for line in csv.DictReader(text.splitlines()))


def _row(line: Mapping[str, str]) -> PublishedRow:
    scores = {name: float(cell) for name, cell in line.items() if name not in _TEXT and cell}
    key = (line["model"], line["class_labels"], line["mask_labels"])
    if line["domain"] == "in-domain" and key in _AUC:
        scores["auc"] = _AUC[key]
    return PublishedRow(line["domain"], *key, scores)


def find(domain: str, method: str, class_labels: str, mask_labels: str) -> PublishedRow | None:
    """The row of this cell, None where the paper has none; arguments as in PublishedRow."""
    wanted = (domain, method, class_labels, mask_labels)
    for row in rows():
        if (row.domain, row.method, row.class_labels, row.mask_labels) == wanted:
            return row
    return None
