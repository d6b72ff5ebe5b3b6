"""Where the statements of this folder come from."""

CITATION = "Gu, Liang, Liu, Shi, Song & Yin, Conv-Basis, arXiv 2405.05219 (2024)"
