"""Tests of txregistry.objects."""
