"""The command ``fastgru``: its arguments, what it reads, and what it prints."""
