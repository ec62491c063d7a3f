"""The gate word: the one cache line that says whether the car allows work now."""
