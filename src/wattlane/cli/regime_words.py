"""Regimes in words, for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wattlane.model.regime import Regimes


def regime_words(found: Regimes) -> str:
    """Return both phases: what they wait for, and what each knob does to time and joules."""
    lines = [
        f"{found.model} on {found.gpu}, {found.precision}, batch {found.batch:g}, {found.input_tokens:g} in, "
        f"{found.output_tokens:g} out: {found.profile}, modelled"
    ]
    for phase in found.phases:
        shares = ", ".join(f"{name} {share:.0%}" for name, share in phase.shares.items() if share >= 0.005)
        lines += [
            f"{phase.phase.value}: {phase.regime}",
            f"  time {phase.seconds * 1e3:.3g} ms: {shares}; {phase.energy_j_per_token:.4g} J/token",
        ]
        for effect in phase.effects:
            time, energy = (f"{best:.2f} [{lo:.2f}, {hi:.2f}]" for best, lo, hi in (effect.time, effect.energy))
            lines.append(
                f"  {effect.knob + ' ' + effect.change:<16} time x {time}, J/token x {energy}: {effect.verdict}; "
                f"{effect.why}"
            )
    return "\n".join(lines)
