"""Where readings come from: adapters that only listen, each behind a URL scheme."""
