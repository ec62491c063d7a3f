"""`idlehands demo`: the main job, live, on one machine."""
