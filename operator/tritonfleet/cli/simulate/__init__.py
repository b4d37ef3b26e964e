"""`tritonfleet simulate`: a manifest's autoscaling on recorded or made traffic, next to what it would replace."""
