"""Floor 0, the nouns: frozen types with units, errors, provenance, versioned files, facts about GPUs and models."""
