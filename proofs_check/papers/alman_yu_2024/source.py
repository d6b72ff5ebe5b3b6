"""Where the statements of this folder come from."""

CITATION = "Alman & Yu, arXiv 2410.04271 (2024), ICLR 2025"
