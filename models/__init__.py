"""How the models that run in the car are made: data, quantisation, recipes. Needs the extra `[train]`."""
