"""What a running registry tells of itself to those who operate it: figures and traces."""
