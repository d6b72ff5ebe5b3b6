"""Where the statements of this folder come from: three places, of which two were read."""

from proofs_check.statements.theorem import Source

__all__ = ["announced", "coded", "paper"]

_AUTHORS = "Desai, Agrawal, Yang, Cuadron, Schroeder, Zaharia, Gonzalez & Stoica"
_PAPER = f"{_AUTHORS}, vAttention: Verified Sparse Attention, arXiv 2510.05688 (2025)"
_PAGE = (
    f"{_AUTHORS}, their page about vAttention, sky-light.eecs.berkeley.edu, as in "
    "skylight-org/website at 336c4ea (2025)"
)
_CODE = f"{_AUTHORS}, their code, skylight-org/sparse-attention-hub at f5abf91 (2026)"


def paper(place: str) -> Source:
    """Source in the paper, of which the abstract was read."""
    return Source(citation=_PAPER, place=place, fidelity="constants made explicit")


def announced(place: str) -> Source:
    """Source on the authors' page, which was read."""
    return Source(
        citation=_PAGE,
        place=place,
        fidelity="constants made explicit",
        wording_verified=True,
    )


def coded(place: str) -> Source:
    """Source in the published code, which was read."""
    return Source(
        citation=_CODE,
        place=place,
        fidelity="constants made explicit",
        wording_verified=True,
    )
