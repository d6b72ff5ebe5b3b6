"""Kim et al. 2021: the Lipschitz constant of self-attention."""

from proofs_check.papers.kim_2021.coverage import COVERAGE
from proofs_check.papers.kim_2021.jacobian import THEOREMS

__all__ = ["COVERAGE", "THEOREMS"]
