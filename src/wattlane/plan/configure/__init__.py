"""Configuration: which engine settings, on how many GPUs, in each time bin, for least energy under the SLOs."""
