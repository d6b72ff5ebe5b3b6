"""Evidence survives being killed; what goes wrong in an experiment stays there; a failed control
spoils the run.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from proofs_check import Status, Verdict
from proofs_check.running.campaign import Campaign, Outcome, conclude
from proofs_check.running.evidence import Evidence, Unit, fingerprint

SYNTHETIC = ("synthetic_theorems",)
UNIT = Unit(theorem="a.b", experiment=0, seed=0, budget="quick", fingerprint="f")
PROVED = Verdict(
    status=Status.PROVED, grade="ball", scope="x in [0, 1]", tightness=0.1, seconds=1.0
)


def carry_out(
    path: Path, keys: tuple[str, ...], *, modules: tuple[str, ...] = SYNTHETIC, limit: float = 20.0
) -> Outcome:
    campaign = Campaign(keys, modules=modules, limit=limit, jobs=1)
    with Evidence(path) as store:
        for _ in campaign.run(store):
            pass
        return campaign.conclude(store)


def test_a_verdict_is_stored_to_the_last_bit(tmp_path: Path) -> None:
    with Evidence(tmp_path / "new folder" / "e.sqlite") as store:
        assert store.get(UNIT) is None
        store.put(UNIT, PROVED)
        assert store.get(UNIT) == PROVED
        store.forget([UNIT])
        assert store.get(UNIT) is None


def test_what_was_not_finished_is_tried_again(tmp_path: Path) -> None:
    with Evidence(tmp_path / "e.sqlite") as store:
        store.put(UNIT, PROVED, finished=False)
        assert store.get(UNIT) is None
        assert store.get(UNIT, finished_only=False) == PROVED


@pytest.mark.parametrize(
    "change",
    [{"seed": 1}, {"experiment": 1}, {"budget": "full"}, {"theorem": "a.c"}, {"fingerprint": "g"}],
)
def test_the_key_depends_on_all_that_can_change_the_verdict(change: dict[str, object]) -> None:
    other = Unit(**(vars(UNIT) | change))  # type: ignore[arg-type]
    assert other.key != UNIT.key
    assert (other.rng_seed == UNIT.rng_seed) == ("fingerprint" in change)


def test_the_fingerprint_follows_the_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    module = tmp_path / "a_paper_of_one_line.py"
    module.write_text("THEOREMS = ()\n")
    before = fingerprint([module.stem])
    assert fingerprint([module.stem]) == before
    module.write_text("THEOREMS = tuple()\n")
    assert fingerprint([module.stem]) != before


def test_the_digest_ignores_time_and_nothing_else(tmp_path: Path) -> None:
    with Evidence(tmp_path / "e.sqlite") as store:
        store.put(UNIT, PROVED)
        digest = store.digest([UNIT])
        store.put(
            UNIT,
            Verdict(
                status=Status.PROVED, grade="ball", scope="x in [0, 1]", tightness=0.1, seconds=9.0
            ),
        )
        assert store.digest([UNIT]) == digest
        store.put(
            UNIT,
            Verdict(
                status=Status.PROVED,
                grade="ball",
                scope="x in [0, 1]",
                tightness=0.1 + 2**-56,
                seconds=1.0,
            ),
        )
        assert store.digest([UNIT]) != digest


def test_crashes_and_time_outs_are_inconclusive(tmp_path: Path) -> None:
    keys = ("bad.hangs", "bad.dies", "bad.unwritable", "good.square")
    outcome = carry_out(tmp_path / "e.sqlite", keys, limit=4.0)
    found = {r.theorem.key: r.verdict for r in outcome.results}
    assert {key: str(v.status) for key, v in found.items()} == {
        "bad.hangs": "inconclusive",
        "bad.dies": "inconclusive",
        "bad.unwritable": "inconclusive",
        "good.square": "proved",
    }
    assert "not finished within 4 s" in found["bad.hangs"].note
    assert "exit code -9" in found["bad.dies"].note
    assert "cannot be written down" in found["bad.unwritable"].note


def test_proved_and_refuted_fails_the_run(tmp_path: Path) -> None:
    outcome = carry_out(tmp_path / "e.sqlite", ("bad.contradiction",))
    assert not outcome.ok
    assert "bad.contradiction" in outcome.contradictions[0]
    assert outcome.results[0].verdict.status is Status.INCONCLUSIVE


def test_a_failed_control_spoils_everything(tmp_path: Path) -> None:
    outcome = carry_out(tmp_path / "e.sqlite", ("good.identity",), modules=("wrong_control",))
    assert outcome.failed_controls == ("controls.wrong",)
    assert not outcome.ok
    (identity,) = (r for r in outcome.results if r.theorem.key == "good.identity")
    assert identity.verdict.status is Status.INCONCLUSIVE
    assert "controls.wrong" in identity.verdict.note


def test_the_whole_campaign_is_corrected_for(tmp_path: Path) -> None:
    """Each coin alone is supported at its own level 0.02; together, six of them are not at the
    campaign's 0.01.
    """
    campaign = Campaign((f"weak.coin-{i}" for i in range(6)), modules=SYNTHETIC, jobs=1)
    with Evidence(tmp_path / "e.sqlite") as store:
        raw = dict(campaign.run(store))
        assert {v.status for v in raw.values()} == {Status.SUPPORTED}
        together = campaign.conclude(store)
        assert all(
            r.verdict.status is Status.INCONCLUSIVE and "corrected for 6" in r.verdict.note
            for r in together.results
        )
        unit = min(raw, key=lambda u: raw[u].facts["p_support"])
        strong = Verdict(
            status=Status.SUPPORTED,
            grade="statistical",
            scope="x",
            facts={"p_support": 1e-9, "p_refute": 1.0},
        )
        store.put(unit, strong)
        kept = conclude(campaign.theorems, campaign.units, store)
        assert [r.theorem.key for r in kept.results if r.verdict.status is Status.SUPPORTED] == [
            unit.theorem
        ]


def test_an_unknown_key_is_named_with_its_neighbours() -> None:
    with pytest.raises(KeyError, match=r"good\.square"):
        Campaign(("good.sqare",), modules=SYNTHETIC)
