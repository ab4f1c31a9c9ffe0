"""Every registered law passes the battery after a round trip through its file; the rivals are what was published."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from wattlane.core.errors import FileFormatError, InputError, UnknownNameError
from wattlane.core.facts.gpus import gpu
from wattlane.core.facts.models import model
from wattlane.core.files import write_json
from wattlane.core.types import Estimate
from wattlane.model.calibration import Point
from wattlane.model.check_law import check_law
from wattlane.model.law import CHECKS, HeldOut, Traits
from wattlane.model.laws.bilinear import BilinearFit, Side, write_bilinear
from wattlane.model.laws.cache_aware import ORDERS, CacheAwareFit, write_cache_aware
from wattlane.model.laws.constant import Constant, fit_constant, read_constant, write_constant
from wattlane.model.laws.ideal import Ideal, device_of, write_ideal
from wattlane.model.laws.logistic_batch import LogisticBatch, fit_logistic_batch, write_logistic_batch
from wattlane.model.laws.phase import Case
from wattlane.model.laws.roofline import Roofline, fit_roofline, write_roofline
from wattlane.model.laws.table import Cell, LookupTable, write_table
from wattlane.model.laws.vidur_mfu import VidurMfu, fit_vidur_mfu, write_vidur_mfu
from wattlane.model.profile import shipped_profiles, write_profile
from wattlane.model.registry import LAWS, entry, read_law
from wattlane.model.serving import AtCase, Load, iteration_work, leave_one_group_out, roofline_s
from wattlane.model.spread import Spread, spread_of

H100 = gpu("H100")
LLAMA_8B, MOE = model("Llama-3.1-8B"), model("Qwen3-30B-A3B")
BATCHES = [1.0, 2.0, 7.0, 32.0, 200.0, 1024.0]


def points(groups: int = 8, seed: int = 0) -> list[Point]:
    """Serving points whose power follows a logistic in log2 of the batch, with a bias of each group."""
    rng = np.random.default_rng(seed)
    truth = LogisticBatch(0.4, 0.45, 0.8, 4.0)
    found = []
    for g in range(groups):
        bias = math.exp(rng.normal(0, 0.08))
        for batch in (2.0, 8.0, 16.0, 64.0, 256.0):
            case = Case(H100, LLAMA_8B)
            w = truth.power_w(case, Load(batch)) * bias * math.exp(rng.normal(0, 0.01))
            found.append(Point(H100, LLAMA_8B, "bf16", 1, batch, 500.0, 0.01, w, "chat", f"g{g}"))
    return found


def cells() -> dict[tuple[int, int], Cell]:
    """Cells of a law that grows with both, at powers of two."""
    return {
        (i, o): Cell(8.0, 0.1 * i + 3.0 * o + 1e-4 * i * o, 0.001 * i + 0.02 * o)
        for i in (32, 64, 128, 256)
        for o in (8, 16, 32)
    }


NO_CACHE = Side((6.0, 0.04, 4e-6), terms=ORDERS[3])
WRITERS = {
    "bilinear": (BilinearFit("m", Side((0.01, 3.0, 1e-4), 5.0), Side((1e-4, 0.02, 1e-6))), write_bilinear),
    "cache_aware": (CacheAwareFit("m", NO_CACHE, NO_CACHE, kv_cache=False), write_cache_aware),
    "constant": (Constant(0.86), write_constant),
    "ideal": (Ideal(MOE, device_of(H100)), write_ideal),
    "logistic_batch": (LogisticBatch(0.3, 0.5, 0.6, 4.0), write_logistic_batch),
    "roofline": (Roofline(0.001), write_roofline),
    "table": (LookupTable("m", cells()), write_table),
    "vidur_mfu": (VidurMfu(), write_vidur_mfu),
}


@pytest.mark.parametrize("name", sorted(LAWS))
def test_every_registered_law_passes_the_battery_after_its_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / "law.json"
    if name == "phase":  # the battery runs on it in test_model_phase.py, per request
        write_profile(shipped_profiles()["H100"], path)
        assert read_law(path).gpu == "H100"
        return
    law, write = WRITERS[name]
    write(law, path)  # type: ignore[operator]
    again = read_law(path)
    if hasattr(law, "power_w"):
        for case in (Case(H100, LLAMA_8B, tensor_parallel=2), Case(gpu("B200"), MOE, "fp8")):
            assert check_law(AtCase(law, case), AtCase(again, case), BATCHES) == []
            assert not set(law.traits.exempt) - set(CHECKS)
        return
    assert check_law(law, again, [20, 32, 60, 128], [8, 12, 16]) == []


def test_a_law_is_known_by_its_file_and_unknown_ones_are_named(tmp_path: Path) -> None:
    assert [e for e in LAWS.values() if not (e.about and e.source)] == []
    with pytest.raises(UnknownNameError, match="vidur_mfu"):
        entry("vidur")
    write_json(tmp_path / "x.json", "law", {"law": "cubic"})
    with pytest.raises(UnknownNameError, match="cubic"):
        read_law(tmp_path / "x.json")
    with pytest.raises(FileFormatError, match="found law 'cubic'"):
        read_constant(tmp_path / "x.json")
    write_json(tmp_path / "y.json", "law", {"law": "constant", "share": -1})
    with pytest.raises(InputError, match="share is -1"):
        read_constant(tmp_path / "y.json")


@pytest.mark.parametrize("fit", [fit_constant, fit_logistic_batch, fit_vidur_mfu, fit_roofline])
def test_intervals_of_fitted_rivals_hold_groups_they_never_saw(fit: object) -> None:
    law = fit(points(24))  # type: ignore[operator]
    case = Case(H100, LLAMA_8B)
    held = [HeldOut((p.batch,), {"power_w": p.power_w}, p.group) for p in points(24, seed=1)]
    at_case = AtCase(law, case)
    if isinstance(law, VidurMfu | Roofline):  # their errors are measured with the rows' own seconds
        assert law.spread.quantiles[0.9] > 0.1
        return
    assert check_law(at_case, at_case, BATCHES, held_out=held) == []


def test_the_logistic_finds_the_curve_behind_the_rows_and_the_constant_their_median() -> None:
    law = fit_logistic_batch(points(40))
    truth = LogisticBatch(0.4, 0.45, 0.8, 4.0)
    case = Case(H100, LLAMA_8B, tensor_parallel=2)
    for batch in (2.0, 16.0, 256.0):
        assert law.power_w(case, Load(batch)) == pytest.approx(truth.power_w(case, Load(batch)), rel=0.05)
    rows = points()
    assert fit_constant(rows).share == pytest.approx(np.median([p.power_w for p in rows]) / 700.0)
    with pytest.raises(InputError, match="at least 5"):
        fit_logistic_batch(rows[:4])
    with pytest.raises(InputError, match="at least one"):
        fit_constant([])
    with pytest.raises(InputError, match="at least 2 to leave one out"):
        leave_one_group_out(fit_constant, rows[:5])
    assert fit_constant(rows[:5]).spread.quantiles == {}


def test_vidurs_law_gives_its_published_watts() -> None:
    a100 = VidurMfu(idle_share=0.25)
    assert 400 * a100.share_at(0.0) == 100.0
    assert 400 * a100.share_at(0.45) == 400 * a100.share_at(0.9) == 400.0
    assert 400 * a100.share_at(0.1) == pytest.approx(100 + 300 * (0.1 / 0.45) ** 0.7)
    rows = [Point(gpu(g), LLAMA_8B, "bf16", 1, 8.0, 100.0, 0.01, 300.0, "chat", "g") for g in ("H100", "B200")]
    assert fit_vidur_mfu(rows[:1]).idle_share * 700 == pytest.approx(60.0)
    assert fit_vidur_mfu(rows[1:]).idle_share == pytest.approx(0.25)


def test_the_roofline_is_bound_by_bytes_then_by_arithmetic_and_scales_with_the_busy_share() -> None:
    case = Case(H100, LLAMA_8B)
    flop, moved = iteration_work(case, Load(1.0, 1000.0))
    assert moved == pytest.approx(2 * LLAMA_8B.dense_params + 1000 * LLAMA_8B.kv_elements_per_token * 2)
    assert flop == pytest.approx(2 * LLAMA_8B.active_params + 1000 * LLAMA_8B.attention_flop_per_token_context)
    assert roofline_s(case, Load(1.0, 1000.0)) == pytest.approx(moved / H100.bandwidth_bytes_per_s)
    huge, _ = iteration_work(case, Load(4000.0, 10.0))
    assert roofline_s(case, Load(4000.0, 10.0)) == pytest.approx(huge / H100.peak_flop_per_s("bf16"))
    law = Roofline(host_s=0.002)
    ideal_s = roofline_s(case, Load(8.0))
    assert law.iteration_s(case, Load(8.0)) == pytest.approx(0.002 + ideal_s)
    assert law.power_w(case, Load(8.0)) == H100.tdp_w
    half = law.power_w(case, Load(8.0, iteration_s=2 * ideal_s))
    assert half == pytest.approx((H100.tdp_w + H100.idle_loaded_w) / 2)
    with pytest.raises(InputError, match="above 0"):
        Load(0.0)


def test_a_mixture_streams_more_experts_the_more_tokens_it_serves() -> None:
    case = Case(H100, MOE)
    moved = [iteration_work(case, Load(b, 1.0))[1] for b in (1.0, 4.0, 1000.0)]
    assert moved[0] < moved[1] < moved[2]
    one = (MOE.dense_params + MOE.moe_layers * MOE.experts_per_token * MOE.expert_params) * 2
    assert moved[0] == pytest.approx(one, rel=1e-3)


def test_the_spread_is_the_conformal_quantile_and_unbounded_past_the_largest_error() -> None:
    errors = [0.01 * i for i in range(1, 20)]
    spread = spread_of(errors, [str(i) for i in range(19)])
    assert spread.quantiles == {0.5: 0.10, 0.8: 0.16, 0.9: 0.18, 0.95: 0.19}
    assert Spread.from_dict(spread.as_dict()) == spread
    estimate = spread.around(100.0, "W", 0.9)
    assert (estimate.lo, estimate.hi) == pytest.approx((100 / math.exp(0.18), 100 * math.exp(0.18)))
    assert spread.around(100.0, "W", 0.99).hi == math.inf
    assert spread_of([], []) == Spread()
    # a group of a hundred rows weighs as much as a group of one
    assert spread_of([0.5] * 100 + [0.1, 0.2, 0.3], ["a"] * 100 + ["b", "c", "d"]).quantiles[0.5] == 0.3
    assert 0.95 not in spread_of([0.1, 0.2], ["a", "b"]).quantiles


class Drawn:
    """A law of power over batch and clock with an interval too narrow and answers that break every rule."""

    traits = Traits(("batch", "age"), ("power_w",), ("batch",), ("age",), (1.0, 2.0))

    def answer(self, *asked: float) -> tuple[float, ...]:
        return (asked[0] ** 2 - 3.0 + asked[1],)

    def predict(self, *asked: float, level: float = 0.95) -> Mapping[str, Estimate]:
        mean = self.answer(*asked)[0]
        return {"power_w": Estimate(mean, mean, mean, "W", level=level)}


def test_the_battery_finds_every_kind_of_break() -> None:
    held = [HeldOut((2.0, 5.0), {"power_w": 1.0}, str(i)) for i in range(9)]
    said = " ".join(check_law(Drawn(), Drawn(), [1.0, 4.0], [0.0, 3.0], held_out=held))
    assert "non-negative: power_w at (1.0, 0.0)" in said
    assert "scale: power_w at (4.0, 3.0) is 16, at doubled batch and age 67; 1 to 2 times" in said
    assert "monotone: power_w falls" in said
    assert "coverage: power_w lies in 0% of the 90% intervals over 9 held-out groups; expected at least 60%" in said
    with pytest.raises(ValueError, match="expected batch, age"):
        check_law(Drawn(), Drawn(), [1.0])
    with pytest.raises(ValueError, match="has no predict"):
        check_law(Ideal2(), Ideal2(), [1.0], [1.0], held_out=held)
    with pytest.raises(ValueError, match="traits name speed"):
        Traits(("batch",), ("power_w",), ("speed",))
    silent = Drawn()
    silent.traits = Traits(("batch", "age"), ("power_w",), (), exempt=dict.fromkeys(CHECKS, "nothing is claimed"))
    assert all("non-negative" in p for p in check_law(silent, Drawn(), [1.0, 4.0], [0.0, 3.0], held_out=held))
    other = [HeldOut((2.0, 5.0), {"itl_s": 1.0})]
    assert not any("coverage" in p for p in check_law(Drawn(), Drawn(), [9.0], [0.0], held_out=other))


class Ideal2:
    """A law without intervals."""

    traits = Traits(("batch", "age"), ("power_w",), ("batch",))

    def answer(self, *asked: float) -> tuple[float, ...]:
        return (asked[0] + asked[1],)
