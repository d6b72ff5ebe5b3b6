"""Where the statements of this folder come from."""

CITATION = "Kacham, Mirrokni & Zhong, PolySketchFormer, arXiv 2310.01655 (2023), ICML 2024"
