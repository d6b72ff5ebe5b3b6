"""Where the statements of this folder come from."""

CITATION = (
    "Alman & Song, The Fine-Grained Complexity of Gradient Computation for Training Large Language "
    "Models, NeurIPS 2024 (arXiv 2402.04497)"
)
TENSOR = (
    "Alman & Song, How to Capture Higher-Order Correlations? Generalizing Matrix Softmax Attention "
    "to Kronecker Computation, ICLR 2024"
)
