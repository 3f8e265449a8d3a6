"""Tests of the driver, shipped with it."""
