"""Where the statements of this folder come from."""

CITATION = "Gupta, Huang, Saha, Xu & Ye, arXiv 2505.14840 (2025), ICLR 2026"
