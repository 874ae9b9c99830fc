"""Gets our certificate, key and trust bundle from a SPIFFE agent (`spiffe-workload-api`)."""
