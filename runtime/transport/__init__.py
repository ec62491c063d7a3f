"""Byte streams between a car and a desktop: in memory, Unix sockets, mutual TLS 1.3 with pinned keys."""
