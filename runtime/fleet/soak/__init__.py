"""A thousand cars on one server with everything going wrong: what is lost, done twice, or not paid for is counted."""
