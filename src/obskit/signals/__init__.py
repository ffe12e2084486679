"""What an operation becomes: traces, metrics, logs."""
