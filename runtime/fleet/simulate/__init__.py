"""A day of millions of cars, in numpy: parkings, gate windows, jobs, energy, and what servers must carry."""
