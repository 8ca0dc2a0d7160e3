"""Plain arrays and numbers that every floor above may use: geometry, intensity, atomic writes."""
