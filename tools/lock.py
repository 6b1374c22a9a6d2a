"""Write constraints.txt: the exact versions that are installed beside this interpreter.

Run: python tools/lock.py
"""

from importlib.metadata import distributions
from pathlib import Path

LEAVE_OUT = {"multimix", "pip", "setuptools", "wheel"}


def main() -> None:
    """One 'name==version' a line, sorted; a local part such as '+cpu' is left out, since any build will do."""
    installed = {
        d.metadata["Name"].lower().replace("_", "-"): d.version.partition("+")[0] for d in distributions()
    }
    lines = [f"{name}=={version}" for name, version in sorted(installed.items()) if name not in LEAVE_OUT]
    target = Path(__file__).resolve().parents[1] / "constraints.txt"
    target.write_text("\n".join(["# Written by `make lock`; used by `make setup`.", *lines]) + "\n", "utf-8")


if __name__ == "__main__":
    main()
