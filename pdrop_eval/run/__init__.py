"""Everything that runs models: evaluation, benchmarks of cost, training, checks."""
