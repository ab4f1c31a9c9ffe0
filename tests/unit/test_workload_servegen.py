"""ServeGen pools: rates and clipped burstiness hold, the seed decides, gaps in the source are stated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from wattlane.core.errors import FileFormatError, InputError
from wattlane.workload import load, servegen
from wattlane.workload.loaders.servegen import CV_MOST, _renewals


def _pool(folder: Path, rates: list[tuple], clients: tuple[int, ...] = (1, 2)) -> Path:
    path = folder / "pool_arrivals_week1.parquet"
    columns = ["client", "t_s", "rate_rps", "iat_dist", "p1"]
    pl.DataFrame(rates, schema=columns, orient="row").write_parquet(path)
    lengths = [
        (client, window, field, tokens * client, 0.5)
        for client in clients
        for window in (0, 21600)
        for field, pair in (("input_tokens", (0, 100)), ("output_tokens", (7, 9)))
        for tokens in pair
    ]
    columns = ["client", "window_s", "field", "tokens", "prob"]
    pl.DataFrame(lengths, schema=columns, orient="row").write_parquet(folder / "pool_lengths_week1.parquet")
    return path


RATES = [
    (1, 0, 2.0, "Gamma", 1.0),
    (1, 600, 4.0, "Weibull", 0.7),
    (2, 600, 1.0, "Gamma", 0.5),
    (3, 0, 2.0, "Gamma", 1.0),
]


def test_a_draw_has_the_rates_of_the_table_and_states_what_it_left_out(tmp_path):
    work = servegen(_pool(tmp_path, RATES), span_s=1200.0, rate_scale=5.0, seed=1)
    first = (work.arrival_s < 600).mean()
    assert len(work) == pytest.approx(5 * 600 * (2 + 4 + 1), rel=0.05)
    assert first == pytest.approx(2 / 7, rel=0.1)
    assert set(np.unique(work.input_tokens)) == {1, 100, 200}  # a drawn length of 0 becomes 1
    assert set(np.unique(work.output_tokens)) == {7, 9, 14, 18}
    assert any("clients without lengths, 22.2% of the requests, left out" in note for note in work.notes)


def test_the_seed_decides_the_draw_and_load_draws_the_first_hour(tmp_path):
    path = _pool(tmp_path, RATES)
    one, same, other = servegen(path), servegen(path, seed=0), servegen(path, seed=1)
    assert np.array_equal(one.arrival_s, same.arrival_s)
    assert not np.array_equal(one.arrival_s[:50], other.arrival_s[:50])
    loaded = load(tmp_path / "pool_lengths_week1.parquet")
    assert loaded.format == "servegen"
    assert np.array_equal(loaded.workload.arrival_s, one.arrival_s)
    assert np.array_equal(loaded.workload.output_tokens, one.output_tokens)


@pytest.mark.parametrize(("family", "shape"), [("Gamma", 0.2), ("Weibull", 0.5), ("Gamma", 4.0), ("Weibull", 2.0)])
def test_renewals_have_the_rate_asked_for_even_in_short_windows(family, shape):
    random = np.random.default_rng(0)
    counts = [len(_renewals(random, 0.02, family, shape)) for _ in range(4000)]
    assert np.mean(counts) == pytest.approx(12.0, rel=0.03)


@pytest.mark.parametrize(("family", "shape"), [("Gamma", 1e-4), ("Weibull", 0.1)])
def test_burstiness_of_a_window_is_clipped(family, shape):
    gaps = np.diff(_renewals(np.random.default_rng(0), 2000.0, family, shape))
    assert 0.8 * CV_MOST < gaps.std() / gaps.mean() < 1.1 * CV_MOST


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start_s": -1.0, "span_s": 0.0}, "2 problems"),
        ({"rate_scale": 0.0}, "rate_scale is 0.0; expected a factor above 0"),
        ({"start_s": 1e6}, "found no requests from 1000000.0 s"),
    ],
)
def test_what_cannot_be_drawn_is_refused(tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        servegen(_pool(tmp_path, RATES), **options)


def test_a_pair_without_its_half_is_refused(tmp_path):
    path = _pool(tmp_path, RATES)
    (tmp_path / "pool_lengths_week1.parquet").unlink()
    with pytest.raises(InputError, match=r"found no pool_lengths_week1.parquet beside it"):
        load(path)


def test_a_pair_without_its_columns_or_with_an_unknown_family_is_refused(tmp_path):
    path = _pool(tmp_path, [(1, 0, 2.0, "Pareto", 1.0)])
    with pytest.raises(FileFormatError, match="found gap family 'Pareto'; expected Gamma or Weibull"):
        servegen(path)
    pl.DataFrame({"client": [1]}).write_parquet(tmp_path / "pool_lengths_week1.parquet")
    with pytest.raises(FileFormatError, match="missing columns window_s, field, tokens, prob; found client"):
        servegen(path)


def test_a_client_without_rate_sends_nothing():
    assert len(_renewals(np.random.default_rng(0), 0.0, "Gamma", 1.0)) == 0


@pytest.mark.data
def test_the_real_pool_gives_its_first_hour(data_dir: Path):
    path = data_dir / "traces" / "servegen" / "language_m-large_arrivals_week1.parquet"
    assert len(load(path).workload) == pytest.approx(739_275 * (1 - 0.206), rel=0.01)
