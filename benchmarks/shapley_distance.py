"""How far the shares of an iteration are from exact Shapley values: `python benchmarks/shapley_distance.py`.

Random iterations of up to eight requests, prompts and answers mixed, on Llama-3.1-8B, Llama-3.1-70B and Qwen3-30B-A3B
on H100. The game: a coalition costs what an iteration over its requests alone would, nobody costs nothing. Exact values
take all coalitions; the shares are those every replay uses (C0 equally, the rest by Aumann-Shapley prices).
"""

from __future__ import annotations

import argparse
from math import factorial

import numpy as np


def exact(cost: np.ndarray, n: int) -> np.ndarray:
    """Return the Shapley values of a game given by the cost of each set of players, a bit a player."""
    weights = [factorial(s) * factorial(n - s - 1) / factorial(n) for s in range(n)]
    size = np.array([mask.bit_count() for mask in range(1 << n)])
    out = np.zeros(n)
    for i in range(n):
        without = np.array([mask for mask in range(1 << n) if not mask >> i & 1])
        out[i] = np.sum(np.array(weights)[size[without]] * (cost[without | 1 << i] - cost[without]))
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=60)
    arguments = parser.parse_args()
    from wattlane.core.facts.gpus import gpu
    from wattlane.core.facts.models import model
    from wattlane.model import iteration as it
    from wattlane.model.laws.phase import Case
    from wattlane.model.profile import profile_for

    board = gpu("H100")
    print(f"{'model':<26}{'requests':>9}{'mean':>9}{'p95':>9}{'largest':>9}   distance of a share, of the mean share")
    for name, tp in (("Llama-3.1-8B", 1), ("Llama-3.1-70B", 4), ("Qwen3-30B-A3B", 2)):
        law = profile_for(board).law(Case(board, model(name), tensor_parallel=tp))
        constants = it.decode_constants(law)
        for n in (2, 4, 8):
            rng, off = np.random.default_rng(n), []
            for _ in range(arguments.draws):
                parts = np.zeros((n, 4))
                for row in parts:
                    if rng.random() < 0.3:
                        size, done = float(rng.integers(16, 2048)), float(rng.integers(0, 4096))
                        row[:2] = size, size * done + size * (size + 1) / 2
                    else:
                        row[2:] = 1.0, float(rng.integers(16, 8192))
                sums = np.array([parts[[i for i in range(n) if m >> i & 1]].sum(axis=0) for m in range(1 << n)])
                cost = np.array([it.cost(law, *x)[1] if m else 0.0 for m, x in enumerate(sums)])
                _, joules, c0, *prices = it.shares(law, constants, *sums[-1])
                found = c0 / n + parts @ np.array(prices)
                off += list(np.abs(found - exact(cost, n)) / (joules / n))
            mean, tail, most = np.mean(off), np.quantile(off, 0.95), np.max(off)
            print(f"{f'{name} on {tp}':<26}{n:>9}{mean:>9.2%}{tail:>9.2%}{most:>9.2%}")


if __name__ == "__main__":
    main()
