"""Readers: a log file in; a tidy frame, and every line not understood, out."""
