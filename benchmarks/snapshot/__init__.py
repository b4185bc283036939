"""Our snapshot engine beside what a user would run otherwise: time, CPU seconds and bytes. See ``__main__``."""
