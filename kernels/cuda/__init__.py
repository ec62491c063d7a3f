"""CUDA kernels of our own: products with one vector, where reading weights is all the cost, and an action's head."""
