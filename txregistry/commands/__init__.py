"""The subcommands of ``txregistry``, a module for each noun; :mod:`txregistry.cli` gathers them."""
