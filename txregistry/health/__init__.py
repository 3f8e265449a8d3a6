"""Health checks: whether the registry and what it needs are well."""
