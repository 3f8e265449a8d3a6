"""The storage drivers that come with txregistry."""
