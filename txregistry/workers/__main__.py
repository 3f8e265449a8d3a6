"""What a worker runs: ``python -m txregistry.workers``, which only a crew starts."""

from txregistry.tap import work

work()
