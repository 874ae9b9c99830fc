"""What root does before the process becomes the daemon's user, and what the start waits for."""
