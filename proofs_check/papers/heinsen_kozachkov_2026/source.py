"""Where the statements of this folder come from."""

CITATION = (
    "Heinsen & Kozachkov, Self-Attention at Constant Cost per Token via Symmetry-Aware Taylor "
    "Approximation, arXiv 2602.00294 (2026), and its code"
)
