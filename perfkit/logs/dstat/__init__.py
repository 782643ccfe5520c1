"""Readers of dstat, dool and pcp-dstat CSV."""
