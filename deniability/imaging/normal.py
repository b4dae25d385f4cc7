"""The normal quantile function, the same to the bit on every machine.

M. J. Wichura, "Algorithm AS 241: The Percentage Points of the Normal Distribution", Applied
Statistics 37 (1988), PPND16; relative error about 1e-16. Its logarithm is computed here by a
fixed sequence of IEEE 754 basic operations (+, -, *, /, square root), each of which is correctly
rounded, so no result depends on a mathematical library or an instruction set. SPEC.md gives the
sequence ("Entropy sources", "shake256").
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float64Array = npt.NDArray[np.float64]

# Coefficients of the published algorithm, highest power first.
_CENTRAL_NUMERATOR = (
    2.5090809287301226727e3,
    3.3430575583588128105e4,
    6.7265770927008700853e4,
    4.5921953931549871457e4,
    1.3731693765509461125e4,
    1.9715909503065514427e3,
    1.3314166789178437745e2,
    3.3871328727963666080e0,
)
_CENTRAL_DENOMINATOR = (
    5.2264952788528545610e3,
    2.8729085735721942674e4,
    3.9307895800092710610e4,
    2.1213794301586595867e4,
    5.3941960214247511077e3,
    6.8718700749205790830e2,
    4.2313330701600911252e1,
    1.0,
)
_MIDDLE_NUMERATOR = (
    7.74545014278341407640e-4,
    2.27238449892691845833e-2,
    2.41780725177450611770e-1,
    1.27045825245236838258e0,
    3.64784832476320460504e0,
    5.76949722146069140550e0,
    4.63033784615654529590e0,
    1.42343711074968357734e0,
)
_MIDDLE_DENOMINATOR = (
    1.05075007164441684324e-9,
    5.47593808499534494600e-4,
    1.51986665636164571966e-2,
    1.48103976427480074590e-1,
    6.89767334985100004550e-1,
    1.67638483018380384940e0,
    2.05319162663775882187e0,
    1.0,
)
_FAR_NUMERATOR = (
    2.01033439929228813265e-7,
    2.71155556874348757815e-5,
    1.24266094738807843860e-3,
    2.65321895265761230930e-2,
    2.96560571828504891230e-1,
    1.78482653991729133580e0,
    5.46378491116411436990e0,
    6.65790464350110377720e0,
)
_FAR_DENOMINATOR = (
    2.04426310338993978564e-15,
    1.42151175831644588870e-7,
    1.84631831751005468180e-5,
    7.86869131145613259100e-4,
    1.48753612908506148525e-2,
    1.36929880922735805310e-1,
    5.99832206555887937690e-1,
    1.0,
)
_LN2 = 0.6931471805599453
_SQRT_HALF = 0.7071067811865476
#: Terms of the series of artanh: the first one left out is below 1e-18 of the sum.
_SERIES = tuple(1.0 / (2 * k + 1) for k in range(11, -1, -1))


def natural_logarithm(x: Float64Array) -> Float64Array:
    """Return log x of positive normal float64 numbers, within 2 units in the last place of 1.

    x = m·2^e with m in [√½, √2); t = (m - 1)/(m + 1); log x = e·ln 2 + 2t·(1 + t²/3 + t⁴/5 + …),
    the series by Horner's rule from its twelfth term.
    """
    mantissa, exponent = np.frexp(x)
    small = mantissa < _SQRT_HALF
    mantissa = np.where(small, mantissa * 2.0, mantissa)
    power = (exponent - small).astype(np.float64)
    t = (mantissa - 1.0) / (mantissa + 1.0)
    result: Float64Array = power * _LN2 + (2.0 * t) * _horner(_SERIES, t * t)
    return result


def normal_quantile(u: Float64Array) -> Float64Array:
    """Return the standard normal numbers below which a share `u` of the distribution lies.

    Args:
        u: any shape, float64, each strictly between 0 and 1.

    """
    q = u - 0.5
    # Each branch is computed for all numbers, on arguments that are harmless where it is not used.
    r = 0.180625 - q * q
    central = q * (_horner(_CENTRAL_NUMERATOR, r) / _horner(_CENTRAL_DENOMINATOR, r))
    r = np.sqrt(-natural_logarithm(np.minimum(u, 1.0 - u)))
    near = r - 1.6
    far = r - 5.0
    tail = np.where(
        r <= 5.0,
        _horner(_MIDDLE_NUMERATOR, near) / _horner(_MIDDLE_DENOMINATOR, near),
        _horner(_FAR_NUMERATOR, far) / _horner(_FAR_DENOMINATOR, far),
    )
    result: Float64Array = np.where(np.abs(q) <= 0.425, central, np.where(q < 0.0, -tail, tail))
    return result


def _horner(coefficients: tuple[float, ...], x: Float64Array) -> Float64Array:
    """Return the polynomial with these coefficients, highest power first, at `x`."""
    total = np.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        total = total * x + coefficient
    return total
