"""What systemd, init scripts and `--reload` are told: `reports` is what the service calls."""
