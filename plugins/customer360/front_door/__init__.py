"""The front door: from a landed file to rows of raw, with every row accounted for."""
