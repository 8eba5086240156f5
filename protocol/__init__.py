"""The wire protocol: messages, spec, codec and state machines. Pure, but for `transport`."""
