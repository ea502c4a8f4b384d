"""Pictures that people look at: bytes, sheets, tiles, and the formats that are read."""
