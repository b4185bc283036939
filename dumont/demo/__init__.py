"""``bin/demo``: the whole loop on one machine, told as it happens and driven from outside, through the HTTP API."""
