"""A second opinion: the `supnorm` of Sollya (Chevillard, Joldes & Lauter 2010), where it is
installed; it is no dependency.
"""

from __future__ import annotations

import math
import re
import shutil
import subprocess
from fractions import Fraction
from typing import Literal

import pytest

from proofs_check.arithmetic.balls import lower, upper
from proofs_check.arithmetic.supnorm import minimax, sup_error
from proofs_check.papers.aggarwal_alman_2022.degree_table import DEGREES, HALF_WIDTHS, TOLERANCES

Kind = Literal["relative", "additive"]

SOLLYA = shutil.which("sollya")
pytestmark = pytest.mark.skipif(SOLLYA is None, reason="Sollya is not installed (Debian: sollya)")


def sollya(
    coefficients: list[Fraction], half_width: Fraction, kind: Kind
) -> tuple[Fraction, Fraction]:
    """Enclosure of the error, of relative width 2^-30."""
    p = " + ".join(f"({c.numerator}/{c.denominator})*x^{i}" for i, c in enumerate(coefficients))
    # The relative error of a polynomial p against f is |p/f - 1| in Sollya too.
    how = {"relative": "relative", "additive": "absolute"}[kind]
    script = (
        f"prec=165; display=powers; supnorm({p}, exp(x), [-{half_width};{half_width}], {how}, "
        "2^(-30)); quit;"
    )
    assert SOLLYA is not None
    done = subprocess.run(
        [SOLLYA], input=script, capture_output=True, text=True, timeout=60, check=True
    )
    ends = re.findall(r"(\d+) \* 2\^\((-?\d+)\)", done.stdout)
    assert len(ends) == 2, done.stdout + done.stderr
    low, high = (Fraction(int(m)) * Fraction(2) ** int(e) for m, e in ends)
    return low, high


def taylor(degree: int) -> list[Fraction]:
    return [Fraction(1, math.factorial(i)) for i in range(degree + 1)]


@pytest.mark.parametrize("kind", ["relative", "additive"])
@pytest.mark.parametrize("half_width", HALF_WIDTHS, ids=str)
def test_both_enclose_the_same_number_and_ours_is_the_tighter(
    half_width: Fraction, kind: Kind
) -> None:
    for column in (0, 4):
        degree = DEGREES[kind][HALF_WIDTHS.index(half_width)][column]
        best = minimax(degree, (-half_width, half_width), kind)[0]
        for coefficients in (best, taylor(degree + 1)):
            sup = sup_error(coefficients, (-half_width, half_width), kind)
            low, high = sollya(coefficients, half_width, kind)
            assert lower(sup) <= high
            assert low <= upper(sup)
            assert upper(sup) - lower(sup) <= 1e-12 * upper(sup)
            if coefficients is best:
                assert high * (1 - Fraction(1, 2**29)) <= TOLERANCES[column]
