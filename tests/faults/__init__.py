"""What may go wrong on the way, on the disk and in the middle of it: the registry's answer to each."""
