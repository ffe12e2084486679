"""How signals leave the process: bounded, in the background, every loss counted."""
