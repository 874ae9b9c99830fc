"""Tests with real peers: nginx, HAProxy, curl, openssl, ssh. They skip, and say why, when one is not installed."""
