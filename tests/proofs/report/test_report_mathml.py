"""Typeset statements say what the text says: no letter, digit or order changes, and the structure
is the intended one.
"""

from __future__ import annotations

import html
import re
import unicodedata
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofs_check import catalogue
from proofs_check.report import mathml

TEXTS = sorted(
    {
        text
        for t in catalogue.theorems(timed=True).values()
        for text in (
            t.statement,
            t.reading,
            *t.alternative_readings,
            *(a.text for a in t.assumptions),
            *t.remarks,
        )
    }
)


def parse(text: str) -> ET.Element:
    # Our own text.
    return ET.fromstring(f"<p>{mathml.html(text).replace('<wbr>', '<wbr/>')}</p>")  # noqa: S314


def letters(text: str) -> str:
    """Letters and digits in order, without accents; roots are drawn, not written, and "8 x 256"
    gets a sign for its x.
    """
    plain = unicodedata.normalize("NFKD", text.replace("ᵀ", "T"))
    plain = re.sub(r"(?<=\d )x(?= \d)", "", plain.replace("sqrt", ""))
    return "".join(c for c in plain if c.isalnum())


def only(text: str) -> str:
    """MathML of a text that is one formula."""
    (formula,) = parse(text).findall("math")
    return "".join(ET.tostring(child, encoding="unicode") for child in formula)


def test_no_letter_of_the_catalogue_is_lost_or_moved() -> None:
    assert len(TEXTS) > 300
    assert [
        text for text in TEXTS if letters("".join(parse(text).itertext())) != letters(text)
    ] == []


@given(st.text(alphabet="aβx1 _^{}()[]|‖<>,;:/!'~√Σ∞²ᵀ₁+-=ã≠.&\"", max_size=30))
def test_any_text_becomes_well_formed_and_keeps_its_letters(text: str) -> None:
    kept = "".join(parse(text).itertext())
    assert letters(kept) == letters(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "a_ij² + 1",
            (
                "<msubsup><mi>a</mi><mrow><mi>i</mi><mi>j</mi></mrow><mn>2</mn></msubsup><mo "
                'form="infix">+</mo><mn>1</mn>'
            ),
        ),
        (
            "2^e_ij",
            "<msup><mn>2</mn><msub><mi>e</mi><mrow><mi>i</mi><mi>j</mi></mrow></msub></msup>",
        ),
        (
            "D̃⁻¹",
            (
                '<msup><mover accent="true"><mi>D</mi><mo>~</mo></mover><mrow><mo '
                'form="prefix">−</mo><mn>1</mn></mrow></msup>'
            ),
        ),
        ("P~_i", '<msub><mover accent="true"><mi>P</mi><mo>~</mo></mover><mi>i</mi></msub>'),
        ("sqrt(x)", "<msqrt><mi>x</mi></msqrt>"),
        ("2⁻ⁿ", '<msup><mn>2</mn><mrow><mo form="prefix">−</mo><mi>n</mi></mrow></msup>'),
        ("e^{x.y}", "<msup><mi>e</mi><mrow><mi>x</mi><mo>·</mo><mi>y</mi></mrow></msup>"),
        ("e^±B", '<msup><mi>e</mi><mrow><mo form="prefix">±</mo><mi>B</mi></mrow></msup>'),
        ("ε1", "<msub><mi>ε</mi><mn>1</mn></msub>"),
    ],
)
def test_scripts_accents_and_roots(text: str, expected: str) -> None:
    assert only(text) == expected


def tree(element: ET.Element) -> str:
    """Fractions as (numerator) over (denominator), the rest as its text."""
    if element.tag == "mfrac":
        return f"({tree(element[0])}) over ({tree(element[1])})"
    return (element.text or "") + "".join(tree(child) + (child.tail or "") for child in element)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("(1/m) Σ_j a_j", "((1) over (m))Σjaj"),
        ("L / log(L/B)", "(L) over (log(L/B))"),  # no fraction within a fraction
        ("5 ln n/(ε² - ε³)", "(5lnn) over (ε2−ε3)"),
        ("ln(2 n/δ) / 2m", "(ln(2n/δ)) over (2m)"),  # 2m binds closer than the slash
        ("(ε1 + ε2) / (1 - ε1) max |V|", "(ε1+ε2) over (1−ε1)max|V|"),
        ("Σ_j a_j b_j / q_j", "Σj(ajbj) over (qj)"),  # the index stays under its sum
        ("Σ_j a_j / Σ_l b_l", "(Σjaj) over (Σlbl)"),
        ("n^(-1/4)", "n−1/4"),
        ("dL/dW_V", "(dL) over (dWV)"),
    ],
)
def test_fractions_take_what_they_should(text: str, expected: str) -> None:
    found = "".join(tree(formula) for formula in parse(text).findall("math"))
    assert found.replace("(2n) over (δ)", "2n/δ") == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a softmax row sums to 1", "a softmax row sums to 1"),
        (
            "The keys of a P with |x| <= 1 in yoso.triple, i.e. all",
            "The keys of a  with  in yoso.triple, i.e. all",
        ),
        (
            "where the pair was dropped (logit 0), 0 where it was kept.",
            "where the pair was dropped (logit 0), 0 where it was kept.",
        ),
        ("YOSO-E & so on", "YOSO-E & so on"),
    ],
)
def test_words_stay_words(text: str, words: str) -> None:
    plain = html.unescape(re.sub(r"<math>.*?</math>|<[^>]*>", "", mathml.html(text)))
    assert plain == words


def test_a_script_around_words_keeps_its_sign() -> None:
    assert "".join(parse("e^{the score} > 0").itertext()) == "e^{the score} >0"


def test_bars_and_brackets_pair() -> None:
    assert tree(parse("|<Rx, Ry> - <x, y>| <= ε ‖x‖ ‖y‖")) == "|⟨Rx,Ry⟩−⟨x,y⟩|≤ε‖x‖‖y‖"
    assert tree(parse("‖‖A B - AB‖_F‖_p <= ‖A‖_F")) == "‖‖AB−AB‖F‖p≤‖A‖F"
    assert parse("‖‖A‖_F‖_p").find("math/msub/mrow/msub") is not None
    nested = parse("|a/|a| - b/|b|| <= 1").find("math/mrow")
    assert nested is not None
    assert (nested[0].text, nested[-1].text) == ("|", "|")
    assert tree(nested) == "|(a) over (|a|)−(b) over (|b|)|"
