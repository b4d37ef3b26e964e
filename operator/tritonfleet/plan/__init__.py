"""Every decision, as a pure function of what was observed and the time."""
