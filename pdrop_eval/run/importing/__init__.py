"""Results that were made elsewhere, as records: read, checked, scored by the benchmarks' rules."""
