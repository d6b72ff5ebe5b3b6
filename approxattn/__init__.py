"""Approximate attention with an error bar."""

from approxattn.attend import attention
from approxattn.certificate import Approximation, Certificate
from approxattn.methods.exact import Exact
from approxattn.methods.linformer import Linformer
from approxattn.methods.polynomial import Polynomial

__all__ = [
    "Approximation",
    "Certificate",
    "Exact",
    "Linformer",
    "Polynomial",
    "attention",
]
