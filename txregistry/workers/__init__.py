"""Several processes that answer requests on one socket: the crew, and each worker of it."""
