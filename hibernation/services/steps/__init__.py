"""Performing effects: the only code that calls providers, boxes and the store. Never inside a transaction."""
