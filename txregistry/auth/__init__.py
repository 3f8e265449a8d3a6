"""Auth backends and access policies that come with txregistry."""
