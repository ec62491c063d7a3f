"""The screen agent's recipe: demonstrations, training, export, evaluation."""
