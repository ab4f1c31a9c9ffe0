"""A study that runs in a second: a few hundred requests, an 8B model on an H100, a small search space, 20 draws."""

from __future__ import annotations

from pathlib import Path

from wattlane.core.facts.gpus import gpu
from wattlane.core.facts.models import model
from wattlane.core.types import Deployment, Slo
from wattlane.core.workload import Workload
from wattlane.model.laws.phase import Case
from wattlane.model.profile import profile_for
from wattlane.plan.scenario import Scenario
from wattlane.plan.space import Space, clock_grid
from wattlane.workload import generate, write

MODEL = "meta-llama/Llama-3.1-8B-Instruct"
STUDY = """\
name = "tiny"
seed = 3

[workload]
file = "requests.csv"

[serving]
model = "meta-llama/Llama-3.1-8B-Instruct"
gpu = "H100"

[slo]
ttft_s = {ttft_s}
tbt_s = 0.05
attainment = 0.95

[baseline]
{baseline}

[search]
max_num_seqs = [16, 64, 1024]
max_num_batched_tokens = [1024, 8192]
release_window_s = [0.0, 0.1]
clock_steps = {clock_steps}
max_replicas = 4

[uncertainty]
draws = 20
"""


def requests(n: int = 240, rate_rps: float = 4.0, seed: int = 1) -> Workload:
    """Return Poisson arrivals with log-normal lengths."""
    lengths = "kind=lognormal,input_mean_tokens=600,input_sd_tokens=600,output_mean_tokens=80,output_sd_tokens=60"
    return generate(arrival=f"kind=poisson,rate_rps={rate_rps}", lengths=lengths, n=n, seed=seed, name="tiny")


def scenario(workload: Workload | None = None, slo: Slo | None = None) -> Scenario:
    """Return the scenario of a workload on one model and GPU."""
    board = gpu("H100")
    return Scenario(workload or requests(), slo or Slo(1.0, 0.05, 0.95), profile_for(board), Case(board, model(MODEL)))


def deployment(replicas: int = 1, seqs: int = 256, budget: int = 2048) -> Deployment:
    """Return a deployment at the maximum clock."""
    return Deployment(MODEL, "H100", replicas=replicas, max_num_seqs=seqs, max_num_batched_tokens=budget)


def space(steps: int = 3) -> Space:
    """Return a search space of some hundred points that holds the limits of `deployment`."""
    return Space((16, 64, 256), (512, 2048, 8192), (0.0, 0.1), clock_grid(gpu("H100"), steps), 4)


def write_study(folder: Path, *, ttft_s: float = 1.0, baseline: str = "", clock_steps: int = 3, n: int = 240) -> Path:
    """Write the study and its requests into a folder; return the path of the study."""
    folder.mkdir(parents=True, exist_ok=True)
    write(requests(n), folder / "requests.csv")
    path = folder / "study.toml"
    path.write_text(STUDY.format(ttft_s=ttft_s, baseline=baseline, clock_steps=clock_steps), encoding="utf-8")
    return path
