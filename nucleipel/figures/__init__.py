"""Pictures of results, drawn with matplotlib or as a page; numbers in, no files."""
