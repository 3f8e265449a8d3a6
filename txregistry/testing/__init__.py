"""The contract of each interface, as a test-suite that any implementation can mix in."""
