"""What a registry tells of itself."""
