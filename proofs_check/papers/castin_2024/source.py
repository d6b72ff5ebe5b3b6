"""Where the statements of this folder come from."""

CITATION = "Castin, Ablin & Peyré, How Smooth Is Attention?, arXiv 2312.14820 (2023), ICML 2024"
