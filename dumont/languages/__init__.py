"""Keeps the catalogues of translations in step with what the code says. For those who develop Dumont; needs polib."""
