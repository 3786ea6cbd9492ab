"""Quantiles and probabilities of the distributions that statistics here go by, without SciPy."""

from __future__ import annotations

Z_95 = 1.959963984540054
"""The 97.5 % quantile of the normal distribution: two-sided 95 %."""

# The same quantile of Student's t with one, two, three and four degrees of freedom.
_STUDENT_95 = (12.7062, 4.3027, 3.1824, 2.7764)


def fair_coin(most: int, tosses: int) -> float:
    """P(X ≤ most) for X ~ Binomial(tosses, ½); integers throughout, so that no term underflows."""
    term, tail = 1, 0
    for heads in range(most + 1):
        tail += term
        term = term * (tosses - heads) // (heads + 1)
    return tail / 2**tosses


def student_95(freedom: int) -> float:
    """The 97.5 % quantile of Student's t.

    Source: Abramowitz and Stegun, "Handbook of Mathematical Functions" (1964), 26.7.5: from five
        degrees of freedom on within 0.003; below, their table 26.10.
    """
    if freedom <= len(_STUDENT_95):
        return _STUDENT_95[freedom - 1]
    z = Z_95
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return z + sum(term / freedom**power for power, term in enumerate(terms, start=1))
