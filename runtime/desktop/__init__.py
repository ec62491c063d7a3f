"""The connector that runs beside a remote desktop, and the car's side of a session with it."""
