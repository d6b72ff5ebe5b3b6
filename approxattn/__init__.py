"""Approximate attention with an error bar."""

from approxattn import _interrupts  # noqa: F401  # first: it is there while the others are loaded
from approxattn._problem.positions import ALiBi
from approxattn.attend import attention, attention_vjp
from approxattn.audit import audit
from approxattn.audit.result import Audit
from approxattn.certificate import Approximation, Certificate, GradientCertificate, Gradients
from approxattn.diagnosis.regime import Regime, diagnose
from approxattn.diagnosis.weights import weights
from approxattn.methods.colliding_pairs.bert_lsh import BertLSH
from approxattn.methods.colliding_pairs.lsh_softmax import LSHSoftmax
from approxattn.methods.costs import Cost
from approxattn.methods.exact import Exact
from approxattn.methods.low_rank.clustered import Clustered
from approxattn.methods.low_rank.fitted_linformer import FittedLinformer
from approxattn.methods.low_rank.folding.state import LinformerState
from approxattn.methods.low_rank.linformer import Linformer
from approxattn.methods.low_rank.nystrom import Nystrom
from approxattn.methods.polynomials.fitted_polynomial import FittedPolynomial
from approxattn.methods.polynomials.folding.open_state import MomentState
from approxattn.methods.polynomials.polynomial import Polynomial
from approxattn.methods.polynomials.state import PolynomialState
from approxattn.methods.polynomials.tensor_attention import tensor_attention
from approxattn.methods.random_features.performer import Performer
from approxattn.methods.random_features.state import PerformerState
from approxattn.methods.selected_keys.selected_summaries import SelectedSummaries
from approxattn.methods.yoso.state import YosoState
from approxattn.methods.yoso.yoso import Yoso
from approxattn.methods.yoso.yoso_expectation import YosoExpectation
from approxattn.planning.applied import HeadCheck, PlannedApproximation, PlanWarning
from approxattn.planning.auto import Auto
from approxattn.planning.calls import plan
from approxattn.planning.files import PlanFileError
from approxattn.planning.record import HeadPlan, Plan

__all__ = [
    "ALiBi",
    "Approximation",
    "Audit",
    "Auto",
    "BertLSH",
    "Certificate",
    "Clustered",
    "Cost",
    "Exact",
    "FittedLinformer",
    "FittedPolynomial",
    "GradientCertificate",
    "Gradients",
    "HeadCheck",
    "HeadPlan",
    "LSHSoftmax",
    "Linformer",
    "LinformerState",
    "MomentState",
    "Nystrom",
    "Performer",
    "PerformerState",
    "Plan",
    "PlanFileError",
    "PlanWarning",
    "PlannedApproximation",
    "Polynomial",
    "PolynomialState",
    "Regime",
    "SelectedSummaries",
    "Yoso",
    "YosoExpectation",
    "YosoState",
    "attention",
    "attention_vjp",
    "audit",
    "diagnose",
    "plan",
    "tensor_attention",
    "weights",
]
