"""The report: one self-contained web page with verdicts, certificates, real heads and figures."""

from proofs_check.report.page import write

__all__ = ["write"]
