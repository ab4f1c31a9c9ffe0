"""One simulation from names to files: a workload, a model on a GPU, and what serving it that way would be like.

Limits that are not given are the engine's own defaults on that GPU (`wattlane show engine vllm`).
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import polars as pl

from wattlane.core.errors import InputError
from wattlane.core.facts.config import resolve_model
from wattlane.core.facts.engines import EngineDefaults, engine_defaults
from wattlane.core.facts.gpus import gpu as gpu_named
from wattlane.core.files import sha256, write_json, write_parquet
from wattlane.core.provenance import Provenance, write_beside
from wattlane.core.served import Latency, latency, write_served
from wattlane.core.types import Deployment, Ledger, Outcome, Slo
from wattlane.core.workload import Workload
from wattlane.model import iteration as it
from wattlane.model.jit import source_hash
from wattlane.model.laws.phase import Case
from wattlane.model.own_profile import chosen_profile
from wattlane.model.profile import Profile
from wattlane.sim import export, fleet
from wattlane.sim.fleet import Replay
from wattlane.workload import load, shape
from wattlane.workload.shaping import names as shape_names

KIND = "simulation"
Number = TypeVar("Number", int, float)


@dataclass(frozen=True, eq=False)
class Simulation:
    """A replay with its account and its latencies; every energy is modelled, at the boundary of the GPU boards."""

    replay: Replay
    ledger: Ledger
    served: pl.DataFrame
    latency: Latency
    slo: Slo
    source: str
    notes: tuple[str, ...]
    provenance: Provenance

    def as_dict(self) -> dict[str, Any]:
        """Return the content of summary.json; ratios are over completed requests, None if there are none."""
        done = self.served.filter(pl.col("outcome") == Outcome.COMPLETED.value)
        computed = done.select((pl.col("input_tokens") - pl.col("cached_tokens")).clip(lower_bound=1).sum()).item()
        output, account = int(done["output_tokens"].sum()), self.ledger

        def per(joules: float, count: float) -> float | None:
            return joules / count if count else None

        return {
            "workload": self.source,
            "deployment": asdict(self.replay.deployment),
            "law": self.provenance.laws["phase"],
            "slo": asdict(self.slo),
            "origin": account.origin.value,
            "boundary": account.boundary.value,
            **self.latency._asdict(),
            "input_tokens": int(done["input_tokens"].sum()),
            "output_tokens": output,
            "horizon_s": self.replay.last_end_s - float(self.replay.workload.arrival_s[0]),
            "mean_batch": self.replay.mean_batch,
            "energy_j": account.metered_j,
            "energy_j_per_request": per(account.metered_j, len(done)),
            "energy_j_per_output_token": per(account.metered_j, output),
            "prefill_j_per_request": per(account.prefill_j, len(done)),
            "decode_j_per_request": per(account.decode_j, len(done)),
            "idle_j_per_request": per(account.idle_j, len(done)),
            "prefill_j_per_computed_token": per(account.prefill_j, computed),
            "decode_j_per_decoded_token": per(account.decode_j, output - len(done)),
            "ledger": {**asdict(account), "residual_j": account.residual_j},
            "ledger_residual_j": account.residual_j,
            "notes": list(self.notes),
            "provenance": self.provenance.as_dict(),
        }


def run(
    workload: Workload | str | Path,
    out: str | Path | None = None,
    *,
    model: str,
    gpu: str = "H100",
    precision: str = "bf16",
    tensor_parallel: int = 1,
    replicas: int = 1,
    max_num_seqs: int | None = None,
    max_num_batched_tokens: int | None = None,
    gpu_memory_utilization: float | None = None,
    clock_hz: float | None = None,
    power_cap_w: float | None = None,
    release_window_s: float = 0.0,
    slo: Slo | None = None,
    engine: str = "vllm",
    profile: str | Path | None = None,
    seed: int = 0,
) -> Simulation:
    """Replay a workload on a deployment; with `out`, write the rows, power, summary and provenance there.

    Args:
        workload: requests, a trace file, or the name of a shipped shape (sampled with `seed`).
        model: a name of the catalogue or a path to a Hugging Face config.json.
        gpu: a name of the catalogue.
        clock_hz: locked SM clock; None is the maximum.
        profile: a profile file, asked instead of the shipped one of the GPU.

    Raises:
        InputError: a name, a file or a limit is wrong, or the model does not fit.
    """
    began = time.monotonic()
    requests, source, inputs, notes = requests_of(workload, seed)
    case = Case(gpu_named(gpu), resolve_model(model), precision, tensor_parallel, clock_hz)
    defaults = engine_defaults(engine, case.gpu)
    budget = _given(max_num_batched_tokens, defaults.max_num_batched_tokens)
    deployment = Deployment(
        model=case.model.name,
        gpu=case.gpu.name,
        precision=precision,
        tensor_parallel=tensor_parallel,
        replicas=replicas,
        max_num_seqs=_given(max_num_seqs, min(defaults.max_num_seqs, budget)),
        max_num_batched_tokens=budget,
        gpu_memory_utilization=_given(gpu_memory_utilization, defaults.gpu_memory_utilization),
        clock_hz=clock_hz,
        power_cap_w=power_cap_w,
        release_window_s=release_window_s,
    )
    law = chosen_profile(case.gpu, profile)
    if profile is not None:
        inputs = {**inputs, "profile": sha256(Path(profile))}
    replay = _replayed(requests, deployment, case, law, defaults)
    outside = [f"extrapolated: {words}" for words in law.outside(case, replay.mean_batch)]
    laws = {"phase": law.name, "kernel_sources": source_hash()}
    found = simulation(replay, slo or Slo(), source, (*notes, *outside), Provenance(seed, inputs, laws))
    if out is not None:
        write(found, Path(out), time.monotonic() - began)
    return found


def simulation(replay: Replay, slo: Slo, source: str, notes: tuple[str, ...], provenance: Provenance) -> Simulation:
    """Return a replay with its account, its served rows and its latencies."""
    account = fleet.ledger(replay)
    table = export.served_table(replay, account.idle_j)
    return Simulation(replay, account, table, latency(table, slo), slo, source, notes, provenance)


def _given(value: Number | None, default: Number) -> Number:
    return default if value is None else value


def write(result: Simulation, folder: Path, duration_s: float) -> None:
    """Write the files of a simulation into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    write_served(folder / "served.parquet", result.served)
    power = export.power_series(result.replay, result.replay.last_end_s)
    write_parquet(folder / "power.parquet", "power", power)
    write_json(folder / "summary.json", KIND, result.as_dict())
    write_beside(folder, result.provenance, {"simulate": duration_s})


def _replayed(
    requests: Workload, deployment: Deployment, case: Case, profile: Profile, defaults: EngineDefaults
) -> Replay:
    law = profile.law(case)
    if deployment.power_cap_w is not None:
        law[it.LIMIT_W] = min(law[it.LIMIT_W], deployment.tensor_parallel * deployment.power_cap_w)
    capacity = case.kv_capacity_tokens(deployment.gpu_memory_utilization)
    return fleet.replay(requests, deployment, law, capacity, defaults.kv_block_tokens)


def requests_of(workload: Workload | str | Path, seed: int) -> tuple[Workload, str, dict[str, str], tuple[str, ...]]:
    """Return the requests, in words where they are from, hashes of files read, and notes."""
    if isinstance(workload, Workload):
        return workload, workload.name, {}, workload.notes
    path = Path(workload)
    if not path.exists() and str(workload) in shape_names():
        made = shape(str(workload)).sample(seed)
        return made, f"shape {workload}, seed {seed}", {}, made.notes
    if not path.exists() and not path.suffix:
        known = ", ".join(shape_names())
        raise InputError(f"workload {str(workload)!r}: no such file and no such shape; shapes: {known}")
    loaded = load(path)
    return loaded.workload, f"{path.name} ({loaded.format})", {"workload": loaded.sha256}, loaded.workload.notes
