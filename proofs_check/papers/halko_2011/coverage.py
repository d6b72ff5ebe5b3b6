"""What became of each numbered statement of Halko et al. 2011 on which the library leans."""

from proofs_check.statements.coverage import Place

COVERAGE = (
    Place(place="Theorem 9.1", says="structural bound of the loss", entries=("hmt.structural",)),
    Place(
        place="Theorem 9.2",
        says="powers of A Aᵀ and a projection",
        entries=("hmt.power-projection",),
    ),
    Place(
        place="Propositions 10.1, 10.2",
        says="moments of Gaussian matrices and of their inverses",
        entries=("hmt.scaled-gaussian", "hmt.inverse-gaussian"),
    ),
    Place(
        place="Proposition 10.4",
        says="tail of the inverse of a Gaussian matrix",
        entries=("hmt.inverse-gaussian-tail",),
    ),
    Place(
        place="Proposition 10.3",
        says="concentration of Lipschitz functions of a Gaussian matrix",
        absence="not checkable",
        why="It is about every Lipschitz function; the tails below use one of them.",
    ),
    Place(place="Theorem 10.5", says="expected Frobenius loss", entries=("hmt.frobenius",)),
    Place(place="Theorem 10.6", says="expected spectral loss", entries=("hmt.spectral",)),
    Place(place="Theorem 10.7", says="tail of the Frobenius loss", entries=("hmt.frobenius-tail",)),
    Place(place="Theorem 10.8", says="tail of the spectral loss", entries=("hmt.spectral-tail",)),
    Place(
        place="Corollary 10.10",
        says="expected spectral loss with powers",
        entries=("hmt.power-iteration",),
    ),
    Place(
        place="sections 1 to 8 and 11",
        says="algorithms, their costs, experiments, subsampled Fourier transforms",
        absence="unread",
    ),
)
