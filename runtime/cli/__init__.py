"""The command `idlehands`: one module a verb."""
