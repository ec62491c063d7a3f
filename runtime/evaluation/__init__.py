"""Live evaluation: private X servers, Chromium pages, episodes, and an independent recorder of input events."""
