"""X11: XShm + XDamage capture, XTest injection, any Unicode text on any keyboard layout."""
