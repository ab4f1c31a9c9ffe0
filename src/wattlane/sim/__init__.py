"""Floor 5, replay a workload under a policy, iteration by iteration, with joules."""
