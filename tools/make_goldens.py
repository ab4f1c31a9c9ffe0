"""Write the golden files of the tests: `python tools/make_goldens.py`.

tests/golden/sim_small.json   four small replays, input and outcome; the outcome is that of tests/reference_engine.py,
                              the slow engine in plain Python, so the compiled one cannot vouch for itself
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parent.parent / "tests"
# Each reaches something else: ties, a refused request, a release window, chunks, a clip, experts, several replicas.
SEEDS = (0, 15, 20, 52)


def replayed(seed: int) -> dict[str, Any]:
    """Return one scene and its outcome as plain values."""
    from reference_engine import replay  # type: ignore[import-not-found]
    from sim_scenes import scene  # type: ignore[import-not-found]

    s = scene(seed)
    d = s.deployment
    requests, timelines = replay(s.workload, d, s.law, s.kv_capacity_tokens, s.block_tokens)
    return {
        "law": s.law.tolist(),
        "deployment": {
            "replicas": d.replicas,
            "max_num_seqs": d.max_num_seqs,
            "max_num_batched_tokens": d.max_num_batched_tokens,
            "release_window_s": d.release_window_s,
        },
        "kv_capacity_tokens": s.kv_capacity_tokens,
        "block_tokens": s.block_tokens,
        "requests": [[r.arrival_s, r.input_tokens, r.output_tokens, r.cached_tokens] for r in s.workload],
        "iterations": [len(timeline) for timeline in timelines],
        "served": [
            None if r.refused else {"token_s": r.token_s, "prefill_j": r.prefill_j, "decode_j": r.decode_j}
            for r in requests
        ],
    }


def main() -> None:
    sys.path.insert(0, str(TESTS))
    body = {"made_by": "tools/make_goldens.py", "scenes": [replayed(seed) for seed in SEEDS]}
    text = json.dumps(body, indent=None, separators=(",", ":")).replace('{"law"', '\n{"law"')
    (TESTS / "golden" / "sim_small.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
