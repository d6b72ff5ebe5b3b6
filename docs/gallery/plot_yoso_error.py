"""
Sampled YOSO against its expectation
====================================

:class:`~approxattn.Yoso` estimates its weights by m random hashes; with infinitely many it would
compute :class:`~approxattn.YosoExpectation`. How fast does it get there? The paper draws the angle
between the two outputs by m; here it is beside the relative error, on a real head.
"""

from proofs_check.figures import hashing
from proofs_check.figures.output.show import show

show(hashing.yoso_error())
