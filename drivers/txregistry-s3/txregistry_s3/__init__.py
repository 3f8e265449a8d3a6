"""Storage for txregistry in a bucket of S3."""
