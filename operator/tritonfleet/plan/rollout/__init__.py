"""How one revision takes over from another: decisions only, no I/O."""
