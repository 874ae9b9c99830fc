"""Reloads: `reload` does one, `trial` tries new parts, `succession` puts it in place, `former` has the old proxies."""
