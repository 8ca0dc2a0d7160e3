"""Running a network over a whole slide, window by window, on a grid that never moves."""
