"""How bytes are read: the file formats, names and texts that several kinds of sources share."""
