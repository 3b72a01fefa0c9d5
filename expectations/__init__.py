"""What must be true: one module per gate, each expectation with its reason."""
