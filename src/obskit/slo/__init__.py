"""Service level objectives: what a team promises, and the rules of Prometheus that hold it to that."""
