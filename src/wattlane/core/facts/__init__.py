"""Facts about GPUs and models, each value with its source and date."""
