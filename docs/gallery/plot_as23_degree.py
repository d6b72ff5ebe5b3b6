"""
The degree of AS23 with R for R²: is any polynomial good enough?
================================================================

Alman and Song (2023, AS23) approximate exp by a polynomial of degree max(L / log(L/R²), R²) up to a
constant, where scores are within R² and L is the number of digits. Liang et al. (2024, LSS24)
restate the lemma with R in the place of R². A square less is a lower degree: this plot asks whether
any polynomial of that degree can be good enough.
"""

from proofs_check.figures import exponential
from proofs_check.figures.output.show import show

show(exponential.as23_degree())
