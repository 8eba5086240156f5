"""The wire protocol: messages, spec, codec, state machines. Pure, but for its two folders."""
