"""Writers of nuclei: the instance map and the tables of one image, a file a format."""
