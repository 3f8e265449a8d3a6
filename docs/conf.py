"""How Sphinx builds the documentation."""

project = "txregistry"
author = "the txregistry developers"
extensions: list[str] = []
html_theme = "alabaster"
exclude_patterns = ["_build", "api"]
