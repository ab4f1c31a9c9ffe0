"""One module a verb, each a thin layer over one library call."""
