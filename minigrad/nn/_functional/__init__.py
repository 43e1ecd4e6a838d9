"""The bodies behind `minigrad.nn.functional`, by family."""
