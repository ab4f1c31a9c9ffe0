"""The paged engine: vLLM-style scheduling with preemption, priorities, prefix cache and clocks, iteration by iteration.

`layout` names every column, `blocks` and `queues` keep memory and order, `segments` charges decoding requests,
`schedule` fills an iteration, `iterate` runs it, `advance` steps one replica and `drive` a fleet of them.
"""
