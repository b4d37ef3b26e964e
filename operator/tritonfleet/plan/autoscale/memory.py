"""What one decision leaves for the next."""
