"""Every random draw of a run has a name, and its generator is derived from the seed and that name.

Nothing random carries state from step to step, so a run that is resumed at step 300 draws what it would
have drawn, and no generator state has to be stored.
"""

import hashlib

from torch import Generator, device


def derive(seed: int, *purpose: str | int) -> int:
    """A 63-bit seed for one purpose of a run, stable across machines and Python versions."""
    digest = hashlib.blake2b(repr((seed, *purpose)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def generator(seed: int, *purpose: str | int, on: device | str = "cpu") -> Generator:
    """A generator for one purpose of a run, such as `generator(seed, "dropout", step)`."""
    return Generator(device=on).manual_seed(derive(seed, *purpose))
