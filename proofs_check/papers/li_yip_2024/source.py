"""Where the statements of this folder come from."""

CITATION = "Li & Yip, BERT-LSH: Reducing Absolute Compute For Attention, arXiv 2404.08836 (2024)"
