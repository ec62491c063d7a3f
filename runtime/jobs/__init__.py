"""Jobs: what is asked for (spec), what moves between cars (checkpoint), whose it is (life, store), its run (runner)."""
