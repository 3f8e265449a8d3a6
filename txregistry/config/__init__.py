"""The configuration: its schema, how it is loaded, how it is shown."""
