"""What Triton is: its config.pbtxt, its rules, its flags and images."""
