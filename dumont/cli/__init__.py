"""``dumont``: the command line. It talks to the API and imports nothing of the control plane, not even Django."""
