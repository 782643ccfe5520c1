"""SSH to hosts: connections that cannot hang, pinned keys, files, and threads over a fleet."""
