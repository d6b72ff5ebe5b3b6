"""The report: self-contained, well-formed, the same every time, and loud about what is not as
expected.
"""

from __future__ import annotations

import html.parser
import re
from dataclasses import replace
from fractions import Fraction
from html import escape
from pathlib import Path

import numpy as np
import pytest

from approxattn.certificate import SOFTMAX
from proofs_check import catalogue
from proofs_check.report import curves, real_heads, tables
from proofs_check.report import ratio_strips as strips
from proofs_check.report import records as view
from proofs_check.report import web_page as page
from proofs_check.report.figures import Figure, figures
from proofs_check.report.files import write
from proofs_check.report.headings import GROUPS
from proofs_check.running.campaign import Campaign, Outcome, Result
from proofs_check.running.evidence import Evidence
from proofs_check.statements.experiment import Falsify
from proofs_check.statements.verdict import Status, Verdict, inconclusive

_VOID = {"meta", "br", "wbr", "col", "link", "img", "hr", "input"}


class Reader(html.parser.HTMLParser):
    """Checks nesting; collects ids, links and what would be fetched."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in ("href", "src", "xlink:href"):
                self.links.append(value or "")
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def read(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    reader.close()
    assert not reader.open
    return reader


@pytest.fixture(scope="module")
def results() -> list[Result]:
    """Every theorem with the verdict expected of it, made up: carrying them out is other tests'
    work.
    """
    campaign = Campaign()
    found = []
    for key, theorem in campaign.theorems.items():
        verdict = _made_up(theorem.expected)
        units = tuple(unit for unit in campaign.units if unit.theorem == key)
        found.append(
            Result(theorem=theorem, verdict=verdict, verdicts=(verdict,) * len(units), units=units)
        )
    return found


def _made_up(status: Status) -> Verdict:
    if status is Status.INCONCLUSIVE:
        return inconclusive("not refuted in 7 tries", tightness=0.5, facts={"tried": 7})
    grade = "statistical" if status is Status.SUPPORTED else "ball"
    witness = {"size": 3} if status is Status.REFUTED else None
    return Verdict(
        status=status,
        grade=grade,
        scope="n < 3 & <b>d</b> = 2",
        tightness=0.25,
        witness=witness,
        seconds=1.5,
    )


@pytest.fixture(scope="module")
def measurement() -> real_heads.Measurement:
    return real_heads.measure()


@pytest.fixture(scope="module")
def drawings(measurement: real_heads.Measurement) -> list[Figure]:
    return figures(measurement)


def render(
    results: list[Result], measurement: real_heads.Measurement, drawings: list[Figure]
) -> str:
    return page.render(results, measurement, drawings, {"python": "3"})


def test_the_page_is_well_formed_and_fetches_nothing(
    results: list[Result], measurement: real_heads.Measurement, drawings: list[Figure]
) -> None:
    text = render(results, measurement, drawings)
    reader = read(text)
    assert len(reader.ids) == len(set(reader.ids)), "an id occurs twice"
    assert all(link.startswith("#") for link in reader.links)
    assert {link[1:] for link in reader.links} <= set(reader.ids), "a link leads nowhere"
    assert not reader.tags & {"script", "link", "img", "iframe"}
    style = text[text.index("<style>") : text.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    assert re.findall(r"https?://[^\s\"<]+", text) == ["http://www.w3.org/1999/xlink"] * len(
        drawings
    )


def test_every_theorem_is_on_the_page_with_its_verdict(
    results: list[Result], measurement: real_heads.Measurement, drawings: list[Figure]
) -> None:
    text = render(results, measurement, drawings)
    reader = read(text)
    assert set(catalogue.theorems()) <= set(reader.ids)
    for key in catalogue.theorems():
        assert f"python -m proofs_check replay {key} --seed 0 --budget quick" in text
    assert "n &lt; 3 &amp; &lt;b&gt;d&lt;/b&gt; = 2" in text, "text is escaped"
    assert 'role="alert"' not in text
    end = text[text.index('<section id="environment">') :]
    assert all(
        f'<a href="#{key}">' in end for key in catalogue.theorems() if catalogue.is_control(key)
    )
    assert "<dt>python</dt><dd>3</dd>" in end
    claims = [r for r in results if catalogue.is_statement(r.theorem)]
    refuted = sum(r.verdict.status is Status.REFUTED for r in claims)
    assert f'<li class="refuted"><b>{refuted}</b> refuted</li>' in text


def test_every_paper_has_a_heading() -> None:
    assert {key.split(".")[0] for key in catalogue.theorems(timed=True)} <= set(GROUPS)


def test_what_is_unexpected_comes_first(
    results: list[Result], measurement: real_heads.Measurement, drawings: list[Figure]
) -> None:
    wrong = [
        r if r.theorem.key != "ours.hilbert" else replace(r, verdict=inconclusive("it broke"))
        for r in results
    ]
    text = render(wrong, measurement, drawings)
    read(text)
    alarm = text[text.index('role="alert"') : text.index('<ul class="counts">')]
    assert "ours.hilbert" in alarm
    assert "it broke" in alarm
    assert "every verdict is the expected one" not in text


def test_a_control_that_fails_discredits_the_run(
    results: list[Result], measurement: real_heads.Measurement, drawings: list[Figure]
) -> None:
    wrong = [
        r if r.theorem.key != "controls.count-true" else replace(r, verdict=inconclusive("no"))
        for r in results
    ]
    assert "Nothing in this run can be trusted" in render(wrong, measurement, drawings)


def test_a_violated_certificate_raises_the_alarm(
    results: list[Result], measurement: real_heads.Measurement, drawings: list[Figure]
) -> None:
    line = measurement.lines[0]
    broken = replace(line, runs=(replace(line.runs[0], ratio=1.5), *line.runs[1:]))
    worse = replace(measurement, lines=(broken, *measurement.lines[1:]))
    assert tables.head_rows(worse)[0].violated
    assert "A certificate is smaller than a true error" in render(results, worse, drawings)
    assert not any(row.violated for row in tables.certificate_rows(results, measurement))


def test_the_first_screen_says_what_to_conclude(
    results: list[Result], measurement: real_heads.Measurement, drawings: list[Figure]
) -> None:
    useful = [r for r in tables.head_rows(measurement) if r.informative and r.target == SOFTMAX]
    assert [r.family for r in useful if r.label == r.family] == ["Exact"]
    head = render(results, measurement, drawings).partition("</header>")[0]
    said = head.partition("To choose a method")[2].partition("</p>")[0]
    assert all(r.label in said for r in useful)
    assert "Nystr" not in said


@pytest.mark.parametrize(
    ("tightness", "text"), [(1 - 2e-5, "< 1"), (1.0, "1"), (1.003, "1 + 3·10⁻³"), (0.25, "0.250")]
)
def test_what_is_below_1_is_never_shown_as_1(
    tightness: float, text: str, results: list[Result], measurement: real_heads.Measurement
) -> None:
    result = next(r for r in results if r.theorem.key == "code.exact")
    verdicts = tuple(replace(v, tightness=tightness) for v in result.verdicts)
    (row,) = tables.certificate_rows([replace(result, verdicts=verdicts)], measurement)
    assert set(row.searched) == {text}


def test_only_other_targets_than_softmax_are_named(
    results: list[Result], measurement: real_heads.Measurement
) -> None:
    rows = tables.certificate_rows(results, measurement)
    assert {row.target for row in rows if row.method.startswith("Yoso")} == {"YOSO-E"}
    assert {row.target for row in rows if not row.method.startswith("Yoso")} == {""}


def test_a_run_of_few_theorems_is_reported_too(
    measurement: real_heads.Measurement, drawings: list[Figure], results: list[Result]
) -> None:
    few = [r for r in results if r.theorem.key in ("code.exact", "controls.count-true")]
    text = render(few, measurement, drawings)
    read(re.sub(r'<a href="#ours.tanh">', "<a>", text))
    assert "not in this run" in text
    assert "No claim about the code" in render(
        [r for r in few if r.theorem.key != "code.exact"], measurement, drawings
    )


def test_figures_are_the_same_every_time_and_take_the_ink_of_the_page(
    measurement: real_heads.Measurement, drawings: list[Figure]
) -> None:
    assert figures(measurement) == drawings
    for figure in drawings:
        reader = read(figure.svg)
        assert all(i.startswith(f"{figure.name}-") for i in reader.ids)
        assert "currentColor" in figure.svg
        assert "#010203" not in figure.svg
        assert "<metadata" not in figure.svg


def test_write_uses_the_environment_of_the_campaign(
    tmp_path: Path,
    results: list[Result],
    monkeypatch: pytest.MonkeyPatch,
    measurement: real_heads.Measurement,
    drawings: list[Figure],
) -> None:
    monkeypatch.setattr(real_heads, "measure", lambda: measurement)
    monkeypatch.setattr(page, "figures", lambda _: drawings)
    campaign = Campaign(["ours.hilbert"], seed=41)
    with Evidence(tmp_path / "e.sqlite") as evidence:
        evidence.begin(campaign.units)
        outcome = Outcome(results=tuple(results), failed_controls=(), contradictions=())
        (written,) = write(outcome, evidence, tmp_path / "deep" / "report", formats=("html",))
    assert written == tmp_path / "deep" / "report" / "index.html"
    text = written.read_text(encoding="utf-8")
    assert "<dt>seed</dt><dd>41</dd>" in text
    assert campaign.units[0].fingerprint[:12] in text
    (without,) = write(outcome, None, tmp_path, formats=("html",))
    assert "<dt>seed</dt>" not in without.read_text(encoding="utf-8")


def test_a_run_that_is_not_complete_says_so_and_raises_no_other_alarm(
    results: list[Result], measurement: real_heads.Measurement, drawings: list[Figure]
) -> None:
    late = [
        replace(r, verdict=inconclusive("not carried out"), waiting=1)
        if r.theorem.key == "ours.hilbert"
        else r
        for r in results
    ]
    text = render(late, measurement, drawings)
    read(text)
    assert "<strong>Not complete</strong>: 1 statements" in text
    assert "not as expected</strong>" not in text
    assert "every verdict is the expected one" not in text


def test_long_witnesses_are_cut() -> None:
    theorem = next(
        t for t in catalogue.theorems().values() if isinstance(t.experiments[0], Falsify)
    )
    verdict = Verdict(
        status=Status.REFUTED, grade="ball", scope="s", witness={"x": np.arange(2000.0)}
    )
    units = tuple(u for u in Campaign([theorem.key]).units if u.theorem == theorem.key)
    row = view.groups(
        [Result(theorem=theorem, verdict=verdict, verdicts=(verdict,) * len(units), units=units)]
    )[0].rows[0]
    assert len(row.witness) < 2200
    assert "cut here" in row.witness


@pytest.mark.parametrize(
    ("x", "text"),
    [
        (None, ""),
        (1.0, "1"),
        (1 - 2e-5, "1 − 2·10⁻⁵"),
        (1.003, "1 + 3·10⁻³"),
        (537.4, "537"),
        (0.5, "0.500"),
        (2.0, "2"),
        (1.5e-14, "1.50·10⁻¹⁴"),
        (float("inf"), "∞"),
        (1234.5, "1.23·10³"),
        (-0.25, "−0.250"),
    ],
)
def test_numbers(x: float | None, text: str) -> None:
    assert view.number(x) == text
    if x is not None and x not in (1, 2):
        assert (view.number(x, near_one="≈ 1") == "≈ 1") == text.startswith("1 ")


# --- the numbers behind the figures ---


def test_degree_curves_hold_and_fall() -> None:
    for curve in curves.degree_curves(n=40, d=4):
        assert all(0 < e <= b for e, b in zip(curve.errors, curve.bounds, strict=True))
        assert curve.bounds == sorted(curve.bounds, reverse=True)
        assert curve.bounds[-1] < 1e-8


def test_no_point_lies_above_the_sharp_bound_and_the_pairs_lie_on_it() -> None:
    found = curves.sharpness()
    assert np.all(found.random[1] <= np.tanh(found.random[0] / 4) + 1e-12)
    assert np.max(np.abs(found.extremal[1] - np.tanh(found.extremal[0] / 4))) < 1e-12


def test_kernels_cross_where_they_are_equal_and_nowhere_else() -> None:
    small, large = curves.kernels(2), curves.kernels(16)
    assert small.crossings == pytest.approx(
        large.crossings, abs=1e-9
    )  # both kernels are powers: the exponent moves nothing
    for x in large.crossings:
        assert (1 - np.arccos(x) / np.pi) == pytest.approx(np.exp(x - 1), abs=1e-9)
    signs = np.sign(large.collision - large.exponential)[1:-1]
    assert np.count_nonzero(np.diff(signs)) == len(large.crossings) == 2


def test_sampled_yoso_falls_with_the_square_root() -> None:
    found = curves.hash_curve(repeats=3)
    assert -0.7 < found.slope < -0.3
    assert [len(e) for e in found.errors] == [3] * len(found.hashes)


# --- tightness, drawn ---


def test_ratios_are_those_of_the_evidence() -> None:
    theorem = catalogue.theorem("linformer.lemma-1")
    facts = {"at least": 0.01, "at most": 0.03, "estimate": 0.02}
    target = theorem.experiments[3].target  # type: ignore[union-attr]
    verdicts = (
        Verdict(status=Status.PROVED, grade="symbolic", scope="s"),
        Verdict(status=Status.PROVED, grade="ball", scope="s", tightness=0.7),
        Verdict(status=Status.PROVED, grade="ball", scope="s", tightness=float("inf")),
        Verdict(
            status=Status.SUPPORTED,
            grade="statistical",
            scope="s",
            tightness=0.02 / target,
            facts=facts,
        ),
    )
    found = strips.ratios(Result(theorem=theorem, verdict=verdicts[1], verdicts=verdicts, units=()))
    assert [(r.experiment, r.value) for r in found] == [(1, 0.7), (3, 0.02 / target)]
    assert (found[1].low, found[1].high) == (0.01 / target, 0.03 / target)
    svg = strips.draw(found, ["Symbolic", "Enclose", "Enclose", "Sample"])
    read(svg)
    assert svg.count("<circle") == 2
    assert svg.count('class="interval"') == 1
    assert "Enclose 0.700" in svg
    assert strips.draw((), []) == ""


def test_a_dot_stands_left_of_the_bound_exactly_when_the_bound_holds_and_far_ones_are_marked() -> (
    None
):
    values = [1e-9, 0.5, 1.0, 1.5, 1e9]
    svg = strips.draw([strips.Ratio(experiment=0, value=x) for x in values], ["Falsify"])
    bound = float(re.findall(r'class="bound" d="M([0-9.]+)', svg)[0])
    left, at, right = (float(x) for x in re.findall(r'<circle class="dot" cx="([0-9.]+)"', svg))
    assert left < bound == at < right
    assert svg.count('<path class="dot"') == 2


def test_counts_give_one_ratio_a_size() -> None:
    campaign = Campaign(["controls.count-false"])
    theorem = campaign.theorems["controls.count-false"]
    facts = {"counts": {"2": (20, Fraction(24)), "3": (45, Fraction(54))}}
    verdict = Verdict(
        status=Status.REFUTED, grade="counted", scope="s", witness={"size": 2}, facts=facts
    )
    found = strips.ratios(Result(theorem=theorem, verdict=verdict, verdicts=(verdict,), units=()))
    assert [r.value for r in found] == [20 / 24, 45 / 54]


def test_the_errata_stand_on_the_page_and_lead_to_their_sections(
    results: list[Result], measurement: real_heads.Measurement, drawings: list[Figure]
) -> None:
    text = render(results, measurement, drawings)
    section = text[text.index('<section id="errata">') : text.index('<section id="searches">')]
    refuted = [r.theorem for r in results if r.verdict.status is Status.REFUTED]
    claims = [t for t in refuted if not catalogue.is_control(t.key)]
    assert section.count('<article class="erratum">') == len(claims)
    printed, other = section.split('<h3 id="stronger">')
    for theorem in claims:
        assert f'">{theorem.key}</a></small>' in (
            printed if catalogue.is_erratum(theorem) else other
        )
        assert f'<a href="#{theorem.key}">{theorem.key}</a></small>' in section
        assert escape(theorem.source.place, quote=False) in section.replace("&#34;", '"').replace(
            "&#39;", "'"
        )
        if theorem.repaired_by:
            assert f'<a href="#{theorem.repaired_by}">' in section
    assert "controls." not in section
    first = text[text.index('<ul class="false">') : text.index("<main>")]  # of the first screen
    wrong = [t for t in claims if catalogue.is_erratum(t)]
    assert first.count("<li>") == len(wrong)
    assert all(f'<a href="#{t.key}">' in first for t in wrong)
