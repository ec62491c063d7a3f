"""Fleet: jobs on NATS JetStream for cars that come and go; ownership is a compare-and-set, a message only an offer."""
