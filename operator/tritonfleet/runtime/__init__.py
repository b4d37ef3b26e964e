"""Time and concurrency: the watch, the queue, the workers, the writes."""
