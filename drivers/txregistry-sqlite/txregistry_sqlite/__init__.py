"""A storage driver for txregistry that keeps a whole registry in one SQLite file."""
