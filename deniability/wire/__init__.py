"""Models of everything that is signed or stored; they generate schemas/*.json."""
