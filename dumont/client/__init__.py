"""Dumont's API from the outside, for the command line and the demo. Knows nothing of the control plane's code."""

VERSION = "0.1.0"
