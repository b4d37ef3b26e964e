"""A fleet of Triton servers on a clock of its own: replays arrivals against any scaler, ours or a rival."""
