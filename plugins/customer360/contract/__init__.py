"""The contract of the front door: the feeds with their fields, and the types and records that follow from them."""
