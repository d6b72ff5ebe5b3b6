"""
Error of sampled YOSO by the number of tokens
=============================================

Does the error of :class:`~approxattn.Yoso` fall when a row has more keys to average over? It would
if each key had hashes of its own. But a hash is drawn once for all of them, and the exact variance
says otherwise.
"""

from proofs_check.figures import hashing
from proofs_check.figures.output.show import show

show(hashing.yoso_tokens())
