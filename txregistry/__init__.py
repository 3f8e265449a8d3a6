"""An OCI and Docker registry on Twisted."""

__version__ = "0.1.0"
