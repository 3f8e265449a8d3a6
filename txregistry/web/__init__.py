"""The HTTP API (distribution-spec 1.1 and Docker Registry HTTP API V2)."""
