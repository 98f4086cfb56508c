"""The one table of tolerances, by dtype name.

``TOLERANCE`` is relative to the norm of the row it judges: weight relations below it count as rounding
of an exact relation (worded "within tolerance", never "exact"). ``MIN_GAP`` is the ratio of neighbouring
singular values that calls a rank. Every number that decides something stands here, with its meaning.
"""

TOLERANCE: dict[str, float] = {
    "float64": 1e-10,
    "float32": 1e-5,
    "float16": 1e-2,
    "bfloat16": 5e-2,
}
"""Largest relative residual of a weight relation that still counts as rounding."""

MIN_GAP = 1e3
"""Ratio of neighbouring singular values that counts as a gap."""

ROUNDING = 1e-12
"""Relative error of a float64 computation of moderate length: group laws, projectors, traces."""

KEPT_ENERGY = 0.95
"""Least share of a neuron's energy that the projection to its stabiliser must keep."""

MIN_SEPARATION = 0.05
"""Least ``1 - correlation`` that must lie between a neuron and its nearest image outside the stabiliser."""

FIXED_SHARE = 0.01
"""A neuron without symmetry of its own counts as fixed when at most this share of its energy moves."""

LEVEL_ROUNDING = 1e-9
"""Correlations nearer than this are equal: squares of float64 rounding over a few thousand terms."""

IMAGE_TOLERANCE = 0.05
"""Largest ``1 - correlation`` of the moving parts at which an image counts as present among the neurons."""

LIVE_SHARE = 0.01
"""Neurons that contribute less than this share of the largest are left out of orbits."""

ROUNDED_MULTIPLICITY = 1e-4
"""Largest distance from an integer at which a multiplicity computed from characters is rounded to it."""

MOMENT_RANK = 1e-8
"""Eigenvalues of a correlation matrix below this share of the largest are noise of float32 products."""


def tolerance(dtype: object) -> float:
    """Tolerance of a dtype given as a name, a numpy dtype or a torch dtype.

    >>> tolerance("float32")
    1e-05
    """
    name = str(dtype).removeprefix("torch.")
    return TOLERANCE[name]


LEAST_FLOOR = 2.0**-48
"""Sixteen roundings of float64: what arithmetic alone may change where no weight is rounded at all."""

ABOVE_NOISE = 10.0
"""How many times the noise floor a defect must reach before it counts as a witness."""

SAME_ON_DATA = 1e-4
"""Share of variance that float32 products may leave unexplained by an action that holds exactly."""

COMPARED_EXACTLY = 1e-6
"""Rows nearer than this are compared in rational arithmetic; distances of others cannot be zero."""

KEPT_FUNCTION = 1e-10
"""Largest change of an output, relative to the largest output, at which a rewritten network counts as the same."""

SETTLED = 1e-9
"""Singular values of a linear latent space below this share of the largest are not reached by the input."""

FINGERPRINT_CELL: dict[str, float] = {"float64": 1e-6, "float32": 1e-2, "float16": 0.5, "bfloat16": 1.0}
"""Width of the cells that a fingerprint rounds to, where its numbers are normally distributed: far above rounding."""

TWIN_FUNCTION: dict[str, float] = {"float32": 1e-5, "float64": 1e-12}
"""How far, relative to the largest output, a twin made by exact relations may be from its original."""

TWIN_DEFECT_FLOAT64 = 1e-12
"""Largest equivariance defect of a twin computed in float64."""

TWIN_DEFECT_FLOORS = 5.0
"""Largest defect of a twin in float32, in multiples of the noise floor of its original."""

BLOCKS_WIN = 0.95
"""Largest share of the dense layer's time at which a layer in isotypic blocks replaces it."""
