"""The layers of `layers` as kernels of a CUDA device, each of which walks over memory once a pass.

The framework's operations read and write an activation several times where one read and one write are needed, and
keep what can be had again. Maps are channels-last: (B C H W) lies in memory as (B H*W C). Sums are in float32 whatever
the kind of the map. Triton, which comes with torch for CUDA on Linux, compiles them when they are first used; where it
is missing or cannot, `layers` does without.
"""

from multimix.networks.fused.drop import dropout
from multimix.networks.fused.normalisation import normalise
from multimix.networks.fused.resampling import pool, upsample_and_join

__all__ = ["dropout", "normalise", "pool", "upsample_and_join"]
