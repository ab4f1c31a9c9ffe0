"""Short requests to a small system, the others to a large one (Wilkins et al. 2024, arXiv 2407.00010)."""

from __future__ import annotations

SMALL, LARGE = 0, 1


def by_length(tokens: int, threshold_tokens: int) -> int:
    """Return SMALL for requests of at most `threshold_tokens`, else LARGE; 0 sends everything to LARGE."""
    return SMALL if tokens <= threshold_tokens else LARGE


def by_both(input_tokens: int, output_tokens: int, input_threshold: int, output_threshold: int) -> int:
    """Return SMALL where both lengths are at most their threshold."""
    return SMALL if input_tokens <= input_threshold and output_tokens <= output_threshold else LARGE
