"""From radiographs to predictions, in memory and as files."""
