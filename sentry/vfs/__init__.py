"""The virtual file system: inodes, dentries, mounts, path walk, open file descriptions, descriptor tables."""
