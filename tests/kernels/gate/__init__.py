"""Tests of the gate word, its reader and its writer."""
