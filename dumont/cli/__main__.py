"""``python -m dumont.cli``, as ``bin/dumont`` runs it."""

from .main import app

app(prog_name="dumont")
