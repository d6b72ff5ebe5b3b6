"""What an examination found, one line per check."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Outcome of one check.

    Parameters
    ----------
    name : str
        What was asked.
    held : bool or None
        Whether it held; None when it does not apply.
    detail : str
        Figures, or the first failure.
    error : BaseException or None
        What the function raised where it should have given numbers.
    """

    name: str
    held: bool | None
    detail: str = ""
    error: BaseException | None = field(default=None, compare=False, repr=False)

    @property
    def raised(self) -> bool:
        """Whether it failed because the function raised what it should not have."""
        return self.error is not None

    def __str__(self) -> str:
        return f"{ {True: 'held', False: 'FAILED', None: '-'}[self.held]:>6}  {self.name}" + (
            f": {self.detail}" if self.detail else ""
        )


@dataclass(frozen=True, kw_only=True)
class Examination:
    """All findings about one subject.

    Parameters
    ----------
    subject : str
        Name of what was examined.
    findings : tuple of Finding
        In the order of the checks.
    """

    subject: str
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether every check that applies held."""
        return all(finding.held is not False for finding in self.findings)

    def __getitem__(self, name: str) -> Finding:
        """Finding of that name; KeyError when there is none."""
        for finding in self.findings:
            if finding.name == name:
                return finding
        raise KeyError(name)

    def __str__(self) -> str:
        failed = sum(finding.held is False for finding in self.findings)
        asked = sum(finding.held is not None for finding in self.findings)
        return "\n".join(
            [self.subject, *map(str, self.findings), f"{asked - failed} of {asked} checks held"]
        )
