"""Pictures of results, drawn with matplotlib; numbers in, figures out, no files."""
