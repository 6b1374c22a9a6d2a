"""The map that people are shown: what in the picture speaks for the answer, and how much.

The gradient of the winning class times the image less the mean of each pixel's surroundings, summed over the channels,
blurred, and where that is positive. A gradient alone, which the bridge carries, says where a change would move the
answer, not what the picture shows there: its order of places is not faithful (docs/explain.md).

After gradient times input [Shrikumar et al., arXiv:1605.01713], which compares with black; here the surroundings are
what is compared with.
"""

import numpy as np
from jaxtyping import Float
from scipy import ndimage

BLUR = 0.025
"""Standard deviation of the blur, in sides of the image: for and against within it cancel."""
SURROUNDINGS = 0.2
"""Side of the square over which the mean is taken, in sides of the image."""


def attribution(
    images: Float[np.ndarray, "B C H W"], gradient: Float[np.ndarray, "B C H W"]
) -> Float[np.ndarray, "B H W"]:
    """At least 0, not scaled; images in [0, 1], and the gradient of the winning class with respect to them."""
    side = max(images.shape[2:])
    window = 2 * int(SURROUNDINGS / 2 * side) + 1
    surroundings = ndimage.uniform_filter(images, (0, 0, window, window), mode="mirror")
    speaks_for = (gradient * (images - surroundings)).sum(axis=1)
    sigma = BLUR * side
    # Beyond the picture there is nothing.
    return ndimage.gaussian_filter(speaks_for, (0, sigma, sigma), mode="constant").clip(min=0)
