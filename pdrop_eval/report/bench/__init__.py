"""Reports of measured cost: benchmarks, FLOPs, throughput, training speed."""
