"""Exact softmax attention and its gradient, by streaming (`approxattn.softmax.streaming`); what is
certified is the rounding (`approxattn.softmax.scores`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from approxattn._arrays import Array
from approxattn._problem import Problem
from approxattn.bounds.gradients import exact_gradient_rounding
from approxattn.bounds.scores import score_bound
from approxattn.bounds.softmax import lse_rounding, softmax_rounding
from approxattn.certificate import (
    SOFTMAX,
    Approximation,
    Certificate,
    Gradients,
)
from approxattn.methods.costs import Costed, Size
from approxattn.methods.protocol import Sizes
from approxattn.softmax.numpy_streaming import held
from approxattn.softmax.streaming import (
    KEY_BLOCK,
    attend,
    attend_with_lse,
    stream_gradient,
)
from approxattn.softmax.variants import sink_gradient


@dataclass(frozen=True, kw_only=True)
class Exact(Costed):
    """Softmax attention itself; its certificate bounds the rounding."""

    randomised: ClassVar[bool] = False
    gradient_of_output: ClassVar[bool] = True
    why_not_causal: ClassVar[str] = ""
    why_no_scale: ClassVar[str] = ""
    averages_values: ClassVar[bool] = True
    sees_earlier_keys: ClassVar[bool] = True
    why_no_window: ClassVar[str] = ""
    why_no_bias: ClassVar[str] = ""
    why_no_lse: ClassVar[str] = ""
    why_no_softcap: ClassVar[str] = ""
    why_no_sinks: ClassVar[str] = ""
