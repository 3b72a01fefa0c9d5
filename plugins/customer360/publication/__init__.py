"""From loaded batches to published tables: write, audit, publish; the daily pass; retention; proof."""
