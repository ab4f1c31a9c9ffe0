"""Floor 8, the main job: the only package that chains the others."""
