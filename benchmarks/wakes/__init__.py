"""Many wakes at once on a fake vast.ai under its documented rate limits; what that costs the control plane."""
