"""Demonstrations on real toolkits: random windows in Tk and Qt, which tell where their own widgets are."""
