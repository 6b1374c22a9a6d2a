"""Write docs/paper_map.md from the docstrings: which function holds which item of the paper.

An item is claimed by a docstring sentence `Paper: ITEM` with ITEM spelt as below. Every item must be claimed
exactly once, and nothing may be claimed that is not an item.

    python tools/paper_map.py            write the page
    python tools/paper_map.py --check    fail where the page or a claim is out of step
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "paper_map.md"

ITEMS = {
    "Eq. (1), first term": "cross-entropy on labelled class images",
    "Eq. (1), second term": "cross-entropy of the strong view against confident pseudo-labels",
    "Eq. (2), first term": "soft Dice on labelled mask images",
    "Eq. (2), second term": "KL between mask predictions on labelled and unlabelled images",
    "Eq. (1) plus Eq. (2)": "the weighted sum: lambda, alpha, beta",
    "Algorithm 1": "one training step over the five streams",
    "§2, saliency map": "absolute gradient of the largest class logit with respect to the image",
    "supplement, Tables 1 and 2, block": "convolutions, instance norm, leaky ReLU, dropout",
    "supplement, Table 1, encoder": "five blocks with max-pooling",
    "supplement, Table 1, classification branch": "pooling and the fully connected layer",
    "supplement, Table 2, saliency bridge": "image and saliency, resized and handed to the decoder",
    "supplement, Table 2, decoder": "four stages with skips, 1x1 convolution",
    "§3, hyper-parameters": "t, lambda, alpha, beta, optimiser, batches, dropout",
    "supplement, weak augmentation": "flip and shifted crop",
    "supplement, strong augmentation": "two operations of the pool, magnitude, skipped half the time",
    "supplement, Tables 3 and 4, methods": "the eight rows",
    "supplement, Tables 3 and 4, class labels": "100, 1000 or all class labels",
    "supplement, Tables 3 and 4, mask labels": "10, 50 or all masks",
    "§3, data, JSRT": "lung masks, in domain",
    "§3, data, CheX": "pneumonia, in domain (Kermany)",
    "§3, data, MCU": "lung masks, cross domain (Montgomery County)",
    "§3, data, NIHX": "pneumonia, cross domain (subset of NIH ChestX-ray14)",
    "supplement, Tables 3 and 4, accuracy": "accuracy",
    "supplement, Tables 3 and 4, F1": "F1 of normal and of pneumonia",
    "supplement, Tables 3 and 4, Dice": "Dice score",
    "supplement, Tables 3 and 4, Jaccard": "Jaccard score",
    "supplement, Tables 3 and 4, SSIM": "structural similarity",
    "supplement, Tables 3 and 4, Hausdorff": "average Hausdorff distance",
    "supplement, Tables 3 and 4, precision": "precision of the masks",
    "supplement, Tables 3 and 4, recall": "recall of the masks",
    "figures, AUC": "area under the ROC curve",
    "figures, box plots of Dice": "spread of the Dice score over images",
    "figures, Bland-Altman of lung area": "predicted against reference area",
    "figures, ROC curves": "sensitivity against specificity",
    "figures, accuracy against label budget": "what more labels bring",
}


def docstrings(tree: ast.Module, module: str) -> Iterator[tuple[str, str]]:
    """(qualified name, text) of every docstring, those of assignments included."""
    yield module, ast.get_docstring(tree) or ""

    def walk(body: list[ast.stmt], prefix: str) -> Iterator[tuple[str, str]]:
        for node, following in zip(body, [*body[1:], None], strict=False):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                yield f"{prefix}.{node.name}", ast.get_docstring(node) or ""
                yield from walk(node.body, f"{prefix}.{node.name}")
            elif isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(following, ast.Expr):
                target = node.targets[0] if isinstance(node, ast.Assign) else node.target
                if isinstance(target, ast.Name) and isinstance(following.value, ast.Constant):
                    yield f"{prefix}.{target.id}", str(following.value.value)

    yield from walk(tree.body, module)


def claims() -> dict[str, list[str]]:
    """Item -> names that claim it, from every module of the package."""
    found: dict[str, list[str]] = {}
    for path in sorted((ROOT / "src" / "multimix").rglob("*.py")):
        module = ".".join(path.relative_to(ROOT / "src").with_suffix("").parts).removesuffix(".__init__")
        for name, text in docstrings(ast.parse(path.read_text("utf-8")), module):
            for claim in re.findall(r"Paper: (.+)", " ".join(text.split())):
                # The longest item that the claim begins with; text that is none stays, to be complained about.
                items = [item for item in ITEMS if claim.startswith(item + ".")]
                found.setdefault(max(items, key=len, default=claim[:60]), []).append(name)
    return found


def problems(found: dict[str, list[str]]) -> list[str]:
    """What is wrong with the claims; empty where nothing is."""
    wrong = [f"no docstring claims {item!r}" for item in ITEMS if item not in found]
    wrong += [f"{item!r} is claimed by {', '.join(names)}" for item, names in found.items() if len(names) > 1]
    wrong += [
        f"{names[0]} claims {item!r}, which is no item" for item, names in found.items() if item not in ITEMS
    ]
    return wrong


def page(found: dict[str, list[str]]) -> str:
    """The Markdown page."""
    lines = [
        "# Paper map",
        "",
        "Where each item of arXiv:2010.14731 (and its supplement) lives. Written by `python tools/paper_map.py` from",
        "the docstrings; `make check` keeps it true.",
        "",
        "| item | what | where |",
        "| --- | --- | --- |",
    ]
    lines += [f"| {item} | {what} | `{found[item][0]}` |" for item, what in ITEMS.items()]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Write or check the page; the exit status."""
    found = claims()
    wrong = problems(found)
    if not wrong and "--check" in sys.argv:
        if not PAGE.is_file() or PAGE.read_text("utf-8") != page(found):
            wrong = ["docs/paper_map.md is out of date: run `python tools/paper_map.py`"]
    elif not wrong:
        PAGE.write_text(page(found), "utf-8")
    for line in wrong:
        print(f"paper map: {line}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
