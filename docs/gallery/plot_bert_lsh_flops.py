"""
BERT-LSH: operations of a layer
===============================

:class:`~approxattn.BertLSH` computes the scores of those pairs only that collide under one of L
tables of K random signs (Li and Yip 2024). The paper draws its cost, 5.12 K L thousand operations,
beside 25.6 of exact attention, for n = 10 tokens. Here the authors' algorithm runs on arrays that
count.
"""

from proofs_check.figures import hashing
from proofs_check.figures.output.show import show

show(hashing.bert_lsh_flops())
