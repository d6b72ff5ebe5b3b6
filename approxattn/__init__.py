"""Approximate attention with an error bar."""

from approxattn.attend import attention, attention_vjp
from approxattn.audit import Audit, audit
from approxattn.certificate import Approximation, Certificate, GradientCertificate, Gradients
from approxattn.methods.bert_lsh import BertLSH
from approxattn.methods.clustered import Clustered
from approxattn.methods.exact import Exact
from approxattn.methods.fitted import FittedLinformer
from approxattn.methods.fitted_polynomial import FittedPolynomial
from approxattn.methods.linformer import Linformer
from approxattn.methods.lsh_softmax import LSHSoftmax
from approxattn.methods.nystrom import Nystrom
from approxattn.methods.performer import Performer
from approxattn.methods.polynomial import Polynomial
from approxattn.methods.yoso import Yoso
from approxattn.methods.yoso_expectation import YosoExpectation
from approxattn.polynomial.state import PolynomialState
from approxattn.regime import Regime, diagnose
from approxattn.tensor import tensor_attention

__all__ = [
    "Approximation",
    "Audit",
    "BertLSH",
    "Certificate",
    "Clustered",
    "Exact",
    "FittedLinformer",
    "FittedPolynomial",
    "GradientCertificate",
    "Gradients",
    "LSHSoftmax",
    "Linformer",
    "Nystrom",
    "Performer",
    "Polynomial",
    "PolynomialState",
    "Regime",
    "Yoso",
    "YosoExpectation",
    "attention",
    "attention_vjp",
    "audit",
    "diagnose",
    "tensor_attention",
]
