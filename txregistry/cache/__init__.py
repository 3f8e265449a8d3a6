"""Caches that come with the registry."""
