"""Tests with real programs: docker's engine, containerd, skopeo, podman, buildah, oras, Distribution."""
