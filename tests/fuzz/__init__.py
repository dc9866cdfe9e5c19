"""A coverage-guided search for bytes over which the native walker and its twins in Python disagree (`make fuzz`)."""
