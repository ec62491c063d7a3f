"""Tests of the language-model hall, on small random models that `synthetic` writes."""
