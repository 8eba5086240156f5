"""``python -m genserver.server`` is the command ``genserver``."""

from .cli import main

main()
