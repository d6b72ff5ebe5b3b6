"""Where the statements of this folder come from."""

CITATION = "Chen, Huo, Li, Liang, Shi & Song, arXiv 2412.17316 (2024)"
