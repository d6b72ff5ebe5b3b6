"""The report of a campaign: one self-contained web page, Markdown, JSON with a schema, JUnit."""

from proofs_check.report.files import FILES, write

__all__ = ["FILES", "write"]
