"""C that every hall shares: CPU detection and the table of instruction-set variants."""
