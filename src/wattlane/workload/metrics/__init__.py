"""A workload from the metrics a fleet keeps: histories of vLLM's histograms, and DCGM's power if it is there."""
