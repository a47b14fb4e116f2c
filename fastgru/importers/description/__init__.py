"""What is in a file, as plain data for a person or a program to read; no engine is built, and nothing runs."""
