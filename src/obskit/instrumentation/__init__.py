"""What observes: each module builds operations for one library and knows no signal."""
