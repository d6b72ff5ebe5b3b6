"""What became of each statement of Zeng et al. 2021 that we know of.

Read: the abstract, the opening and the authors' code; the lemmas were not read.
"""

from proofs_check.statements.coverage import Place

COVERAGE = (
    Place(
        place="definition of YOSO-E",
        says="the weight is the probability that hashes collide",
        entries=("yoso.collision", "yoso.triple"),
    ),
    Place(
        place="the weight against exp(τ(x - 1))",
        says="the shape of the two weights",
        entries=("yoso.softmax-shape", "yoso.slope-at-ends"),
    ),
    Place(
        place="yoso_v1/kernel.py, Cumulation.forward",
        says="arccos of the product of unit rows",
        entries=("yoso.float32-domain",),
    ),
    Place(
        place="yoso_v1/kernel.py, Cumulation.backward",
        says="a lower bound in place of the derivative",
        entries=("yoso.surrogate-gradient", "yoso.exact-gradient"),
    ),
    Place(
        place="YOSO-m: all tokens sampled at once by a single hash",
        says="the estimator, its spread and what independence would give",
        entries=(
            "yoso.variance",
            "yoso.variance-bound",
            "yoso.independent-variance",
            "yoso.l2-hoeffding",
            "yoso.error-in-hashes",
            "yoso.floor-in-tokens",
        ),
    ),
    Place(
        place="fast_hash of the authors' code",
        says="Hadamard transforms in the place of hyperplanes",
        entries=("yoso.hadamard-collision", "yoso.hadamard-bias"),
    ),
    Place(
        place="N-YOSO, rows of unit length",
        says="normalisation after sampling",
        entries=("yoso.normalised-bias",),
    ),
    Place(
        place="the backward kernels of both versions",
        says="gradients from sampled hashes",
        entries=("yoso.sampled-gradient", "yoso.shared-hash-bias", "yoso.second-version-bias"),
    ),
    Place(
        place="the lemmas on approximation and concentration",
        says="how close YOSO-m is to YOSO-E",
        absence="unread",
    ),
    Place(
        place="linear time",
        says="O(n) at fixed τ and m",
        entries=("code.cost-yoso-sampled",),
    ),
    Place(
        place="GLUE, Long Range Arena, time and memory",
        says="accuracy and speed",
        absence="not checkable",
        why="Measurements on trained models and one GPU.",
    ),
)
