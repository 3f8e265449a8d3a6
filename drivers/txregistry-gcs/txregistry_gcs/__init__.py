"""Storage for txregistry in a bucket of Google Cloud Storage."""
