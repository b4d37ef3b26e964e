"""`tritonfleet golden`: golden requests, asked from where a person sits."""
