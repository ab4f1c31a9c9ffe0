"""Quality beside energy: how far the outputs of a cheaper configuration lie from those of a reference.

For logits z (reference) and z' of the same positions:

    kl            mean over positions of Σ p · (log p − log p'),  p = softmax(z), nats
    top1          share of positions with the same most likely token
    max_abs       largest |z − z'|

Random weights say nothing about accuracy; a distance on them checks that a path runs and is close, and says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wattlane.core.errors import InputError

RANDOM_WEIGHTS = "random_weights: the distance checks the path; it says nothing about accuracy"


@dataclass(frozen=True, slots=True)
class Distance:
    """How far a configuration lies from its reference; `notes` limit what that means."""

    reference: str
    name: str
    kl_nats: float
    top1_agreement: float
    max_abs: float
    positions: int
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for a JSON file."""
        return {
            "reference": self.reference,
            "name": self.name,
            "kl_nats": self.kl_nats,
            "top1_agreement": self.top1_agreement,
            "max_abs": self.max_abs,
            "positions": self.positions,
            "notes": list(self.notes),
        }


class Quality(Protocol):
    """Anything that judges a configuration against a reference, such as a perplexity on a text of your own."""

    def __call__(self, reference: str, name: str) -> Distance:
        """Return how far configuration `name` lies from configuration `reference`."""
        ...


@dataclass(frozen=True, slots=True)
class LogitDistance:
    """A quality hook over logits that were kept from runs on the same tokens, by configuration."""

    logits: dict[str, ArrayLike]
    random_weights: bool = False

    def __call__(self, reference: str, name: str) -> Distance:
        """Return the distance; raise `InputError` for a configuration without logits."""
        missing = [key for key in (reference, name) if key not in self.logits]
        if missing:
            raise InputError(
                f"no logits of {', '.join(missing)}; found {', '.join(self.logits) or 'none'}; run it first"
            )
        return logit_distance(
            self.logits[reference], self.logits[name], reference, name, random_weights=self.random_weights
        )


def logit_distance(
    reference: ArrayLike,
    other: ArrayLike,
    reference_name: str = "reference",
    name: str = "other",
    *,
    random_weights: bool = False,
) -> Distance:
    """Return the distance of two arrays of logits, shape (..., vocabulary), of the same positions.

    Raises:
        InputError: shapes differ, are empty, or a value is not finite.
    """
    z, w = (np.asarray(values, dtype=np.float64) for values in (reference, other))
    if z.shape != w.shape or z.ndim < 1 or z.size == 0:
        raise InputError(f"logits have shapes {z.shape} and {w.shape}; expected the same (..., vocabulary)")
    if not (np.isfinite(z).all() and np.isfinite(w).all()):
        raise InputError(f"logits of {reference_name} or {name} hold values that are not finite; expected numbers")
    z, w = z.reshape(-1, z.shape[-1]), w.reshape(-1, w.shape[-1])
    log_p, log_q = _log_softmax(z), _log_softmax(w)
    kl_nats = float(np.mean(np.sum(np.exp(log_p) * (log_p - log_q), axis=1)))
    same = float(np.mean(z.argmax(axis=1) == w.argmax(axis=1)))
    notes = (RANDOM_WEIGHTS,) if random_weights else ()
    # rounding can leave a divergence of equal distributions a hair below 0
    return Distance(reference_name, name, max(kl_nats, 0.0), same, float(np.abs(z - w).max()), len(z), notes)


def _log_softmax(z: NDArray[np.float64]) -> NDArray[np.float64]:
    shifted = z - z.max(axis=1, keepdims=True)
    result: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result
