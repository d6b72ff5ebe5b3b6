"""Where the statements of this folder come from."""

CITATION = "Aliakbarpour, Braverman, Yin & Zhang, Support Basis, arXiv 2510.01643 (2025)"
