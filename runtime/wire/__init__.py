"""The protocol between a car and a desktop: vocabulary, tables, messages, framing, two state machines. No I/O."""
