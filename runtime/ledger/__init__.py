"""The ledger: what every run of a job used, in a chain of hashes that shows when a line was changed or lost."""
