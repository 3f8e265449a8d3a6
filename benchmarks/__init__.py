"""txregistry beside CNCF Distribution on the same machine: ``python -m benchmarks``."""
