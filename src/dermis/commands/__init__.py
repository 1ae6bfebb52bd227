"""One file per command: ``run(arguments) -> exit status``."""
