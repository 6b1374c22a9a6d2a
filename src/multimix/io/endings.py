"""The endings of file names, with '.nii.gz' as one."""

from pathlib import PurePath

_PACKED = ".nii.gz"


def ending(path: PurePath) -> str:
    """The suffix in lower case: '.png', '.nii.gz', or ''."""
    return _PACKED if path.name.lower().endswith(_PACKED) else path.suffix.lower()


def stem(path: PurePath) -> str:
    """The name without that suffix."""
    return path.name[: -len(_PACKED)] if ending(path) == _PACKED else path.stem
