"""Multi-layer transformers with any attention method in any layer: value, gradient, and how far
both can be from exact attention.
"""

from approxattn.transformer.forward import forward
from approxattn.transformer.gradient import gradient
from approxattn.transformer.linear import Embedding, Linear
from approxattn.transformer.mlp import Mlp
from approxattn.transformer.model import Layer, Transformer
from approxattn.transformer.norm import LayerNorm
from approxattn.transformer.parameters import parameters, with_parameters
from approxattn.transformer.results import LayerErrors, ModelCertificate, ModelGradients, Output
from approxattn.transformer.self_attention import SelfAttention
from approxattn.transformer.token_map import Custom, Residual
from approxattn.transformer.tolerance import DegreeChoice, choose_degrees

__all__ = [
    "Custom",
    "DegreeChoice",
    "Embedding",
    "Layer",
    "LayerErrors",
    "LayerNorm",
    "Linear",
    "Mlp",
    "ModelCertificate",
    "ModelGradients",
    "Output",
    "Residual",
    "SelfAttention",
    "Transformer",
    "choose_degrees",
    "forward",
    "gradient",
    "parameters",
    "with_parameters",
]
