"""Scripts that run on the machine, sent to its Python as they are. Standard library only, Python 3.10 or later."""
