"""Floor 6, tables, figures and pages, from result files only."""
